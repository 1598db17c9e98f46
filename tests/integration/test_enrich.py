"""What no event tells: names of wrap-up codes that give closures a meaning, and records that fill in the rest."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock, enrich, reapply
from crm_sync.genesys import events
from crm_sync.resolution import Status
from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.platform_world import RESOLVED
from crm_sync.services import Services
from crm_sync.settings import EnrichSettings, ResolutionSettings
from crm_sync.store import enrichments, labels
from crm_sync.store.inbox import Inbox
from crm_sync.store.repairs import ANY_TIME
from crm_sync.store.tables import ClosureRow
from tests.integration.pretend import PretendGenesys, process

MULTIGET = "/api/v2/analytics/conversations/details"
BY_NAME = ResolutionSettings(wrapup_codes={" Resolved ": Status.RESOLVED, "not resolved": Status.UNRESOLVED})


@pytest.fixture
def services(migrated_url: str, genesys: PretendGenesys) -> Iterator[Services]:
    options: dict[str, Any] = {"resolution": BY_NAME, "enrich": EnrichSettings(requests_per_hour=60, ids_at_once=10)}
    with process(migrated_url, genesys.url, registration="none", **options) as made:
        yield made


def play(services: Services, genesys: PretendGenesys, count: int, *, stories: list[str] | None = None) -> list[str]:
    """Let conversations happen, receive their events, and return their ids."""
    until = clock.now() - timedelta(minutes=20)
    options = {"since": clock.to_text(until - timedelta(hours=3)), "until": clock.to_text(until), "tell": False}
    played = genesys.control.play(count=count, seed=5, stories=stories or ["agent", "bot_success"], **options)
    known = {one.id: one for one in genesys.state.platform.conversations.all()}
    bodies = [event.body | {"topicName": event.topic} for one in played for event in events_of(known[one["id"]])]
    context = events.Context(source="webhook", received_at=clock.now())
    services.intake.record(events.parse(json.dumps(bodies).encode(), context)[0])
    return [one["id"] for one in played]


def closures(services: Services) -> dict[str, Any]:
    with services.database.read() as connection:
        return {row.conversation_id: row for row in connection.execute(ClosureRow.metadata.tables["closures"].select())}


def test_a_code_that_is_mapped_by_name_counts_once_its_name_is_known(
    services: Services, genesys: PretendGenesys
) -> None:
    ids = play(services, genesys, 20, stories=["agent"])
    truth = {one["id"]: one["resolution"] for one in genesys.control.platform_conversations()}
    assert {closures(services)[each].resolution_source for each in ids} == {"disconnect"}
    before = closures(services)

    turned = enrich.look_up_codes(services.settings, services.database, services.genesys)

    after = closures(services)
    meant = {each for each in ids if truth[each] in ("resolved", "unresolved")}
    assert turned == len(meant) > 0
    for each in ids:
        # Nobody has mapped the third name.
        assert after[each].resolution == (truth[each] if each in meant else "unknown")
        assert (after[each].version > before[each].version) == (each in meant)


def test_a_known_name_counts_for_what_comes_later_in_every_process(services: Services, genesys: PretendGenesys) -> None:
    enrich.look_up_codes(services.settings, services.database, services.genesys)

    ids = play(services, genesys, 5, stories=["agent"])

    truth = {one["id"]: one["resolution"] for one in genesys.control.platform_conversations()}
    found = closures(services)
    assert {found[each].resolution for each in ids if truth[each] == "resolved"} == {"resolved"}


def test_a_second_look_changes_nothing(services: Services, genesys: PretendGenesys) -> None:
    play(services, genesys, 10)
    enrich.look_up_codes(services.settings, services.database, services.genesys)
    before = closures(services)

    assert enrich.look_up_codes(services.settings, services.database, services.genesys) == 0
    assert closures(services) == before


def test_a_renamed_code_takes_its_meaning_with_it(services: Services, genesys: PretendGenesys) -> None:
    ids = play(services, genesys, 10, stories=["agent"])
    enrich.look_up_codes(services.settings, services.database, services.genesys)
    resolved = {each for each in ids if closures(services)[each].wrapup_code == RESOLVED}
    genesys.control.add_entry("wrapupcodes", id=RESOLVED, name="Not resolved")

    enrich.look_up_codes(services.settings, services.database, services.genesys)

    assert resolved and {closures(services)[each].resolution for each in resolved} == {"unresolved"}


def test_records_are_fetched_many_at_once_within_the_budget(services: Services, genesys: PretendGenesys) -> None:
    ids = play(services, genesys, 25)
    assert closures(services)[ids[0]].started_at is not None

    came = [enrich.fetch_records(services.settings, services.database, services.genesys) for _ in range(4)]

    assert came == [10, 10, 5, 0]
    assert genesys.calls("GET", MULTIGET) == 3
    ended = {one["id"]: one["ended_at"] for one in genesys.control.platform_conversations()}
    assert {each: clock.to_text(row.ended_at) for each, row in closures(services).items()} == ended


def test_what_analytics_does_not_know_yet_is_asked_for_again_later_and_not_for_ever(
    services: Services, genesys: PretendGenesys
) -> None:
    now = clock.now() - timedelta(minutes=30)
    body = {"conversationId": "stranger", "eventTime": clock.to_ms(now), "sessionId": "s", "disconnectType": "CLIENT"}
    context = events.Context(source="webhook", received_at=clock.now())
    services.intake.record(events.parse(json.dumps(body).encode(), context)[0])

    for _ in range(3):
        assert enrich.fetch_records(services.settings, services.database, services.genesys) == 0
    assert genesys.calls("GET", MULTIGET) == 1
    with services.database.write() as connection:
        for _ in range(2):
            enrichments.note_unknown(connection, ["stranger"])
        connection.exec_driver_sql("UPDATE enrichments SET asked_at = '2020-01-01 00:00:00'")
        assert enrichments.waiting(connection, wait_seconds=60, limit=5) == []


def test_a_changed_map_is_applied_to_the_past_after_a_dry_run(services: Services, genesys: PretendGenesys) -> None:
    play(services, genesys, 12, stories=["agent"])
    changed = ResolutionSettings(wrapup_codes={RESOLVED: Status.TRANSFERRED})
    inbox = Inbox(services.database, changed.as_map())
    before = closures(services)

    tried = reapply.run(services.database, inbox, ANY_TIME, dry_run=True)
    assert closures(services) == before
    done = reapply.run(services.database, inbox, ANY_TIME)
    again = reapply.run(services.database, inbox, ANY_TIME)

    expected = sum(row.wrapup_code == RESOLVED for row in before.values())
    assert (tried.changed, done.changed, again.changed) == (expected, expected, 0)
    assert done.turned == {("unknown", "transferred"): expected}
    assert sum(row.resolution == "transferred" for row in closures(services).values()) == expected


def test_a_label_that_is_put_again_is_not_new(services: Services) -> None:
    with services.database.write() as connection:
        assert labels.put(connection, "wrapup_code", {"a": "A", "b": "B"}) == {"a", "b"}
        assert labels.put(connection, "wrapup_code", {"a": "A", "b": "C"}) == {"b"}
        assert labels.names(connection, "wrapup_code") == {"a": "A", "b": "C"}
