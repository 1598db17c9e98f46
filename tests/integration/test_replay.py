"""Kept events through the same door again, once what kept them out has been mended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock, replay
from crm_sync.closure import EventStatus
from crm_sync.replay import Replayed, Selection
from crm_sync.services import Services, opened
from crm_sync.settings import GenesysSettings, Settings
from tests.integration.builders import CONVERSATION, ORGANIZATION, SOLVED, Store, ended, enveloped, opened_store, parsed
from tests.integration.builders import wrapped_up as solved

FOREIGN = enveloped(ended())


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as found:
        yield found


@contextmanager
def services(store: Store, *, organization_id: str = ORGANIZATION, **settings: Any) -> Iterator[Services]:
    """Open the services with the settings of today."""
    url = store.database.url.render_as_string(hide_password=False)
    genesys = GenesysSettings(organization_id=organization_id)
    with opened(Settings(database_url=url, genesys=genesys, **settings)) as found:
        yield found


def run(store: Store, selection: Selection | None = None, **settings: Any) -> Replayed:
    """Replay, by default what is quarantined."""
    with services(store, **settings) as found:
        return replay.run(found, selection or Selection(), lambda _read: None)


def keep_foreign(store: Store, *bodies: bytes) -> list[str]:
    """Record these bodies while the setting names another organization, and return their ids."""
    return [recorded.event_id for recorded in store.inbox.record(parsed(*bodies, organization_id="mistaken"))]


def test_an_event_is_merged_once_its_cause_has_been_mended(store: Store) -> None:
    (event_id,) = keep_foreign(store, FOREIGN)
    before = store.row("events").status, store.count("closures")
    done = run(store)
    merged, kept = store.row("events", status="accepted"), store.row("events", event_id=event_id)

    assert before == ("quarantined", 0)
    assert done == Replayed(read=1, accepted=1, quarantined=0)
    assert store.row("closures").closed is True
    assert store.delivery().state == "pending"
    assert (merged.source, merged.conversation_id, merged.body) == ("replay", CONVERSATION, FOREIGN)
    assert (kept.status, kept.reason) == ("ignored", f"understood by a replay, as {merged.event_id}")


def test_what_still_cannot_be_read_stays_quarantined(store: Store) -> None:
    keep_foreign(store, FOREIGN)
    store.record(b"{")
    before = store.rows("events")
    done = run(store, organization_id="still mistaken")

    assert done == Replayed(read=2, accepted=0, quarantined=2)
    assert store.rows("events") == before
    assert store.count("closures") == 0


def test_a_second_replay_changes_nothing(store: Store) -> None:
    keep_foreign(store, FOREIGN, solved())
    run(store)
    run(store, Selection(status="accepted"))
    before = [store.rows(table) for table in ("events", "closures", "deliveries", "conversation_people")]
    again = [run(store), run(store, Selection(status="accepted")), run(store, Selection(status="ignored"))]

    assert [done.read for done in again] == [0, 2, 1]
    assert [store.rows(table) for table in ("events", "closures", "deliveries", "conversation_people")] == before


def test_an_event_of_whose_arrival_we_know_already_is_merged_once(store: Store) -> None:
    keep_foreign(store, FOREIGN)
    store.record(ended())
    run(store)

    assert len(store.rows("events", status="accepted")) == 1
    assert store.rows("events", status="quarantined") == []
    assert (store.count("closures"), store.count("deliveries")) == (1, 1)


def test_what_could_not_be_stored_for_a_defect_of_ours_is_accepted_under_its_own_id(store: Store) -> None:
    (event,) = parsed(ended())
    reason = "could not be stored (ValueError)"
    store.inbox.record([replace(event, status=EventStatus.QUARANTINED, reason=reason, facts={}, people=())])
    done = run(store)
    kept = store.row("events")

    assert done == Replayed(read=1, accepted=1, quarantined=0)
    assert (kept.event_id, kept.status, kept.reason) == (event.event_id, "accepted", None)
    assert store.row("closures").closed is True


def test_an_event_that_still_cannot_be_stored_keeps_no_other_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = enveloped(ended("poison"))
    keep_foreign(store, FOREIGN, poison)
    record = replay.Inbox.record

    def refuse(inbox: replay.Inbox, events: list[Any], *, again: bool = False) -> list[Any]:
        if any(event.conversation_id == "poison" for event in events):
            raise ValueError("a driver's complaint")
        return record(inbox, events, again=again)

    monkeypatch.setattr(replay.Inbox, "record", refuse)
    done = run(store)

    assert done == Replayed(read=2, accepted=1, quarantined=1)
    assert [event.body for event in store.rows("events", status="quarantined")] == [poison]
    assert store.row("closures").conversation_id == CONVERSATION


def test_a_wrap_up_code_that_has_been_explained_since_resolves_what_it_closed(store: Store) -> None:
    with services(store) as found:
        found.intake.record(parsed(ended(), solved()))
    before = store.row("closures")
    run(store, Selection(status="accepted"), resolution={"wrapup_codes": {SOLVED: "resolved"}})
    after = store.row("closures")

    assert (before.resolution, after.resolution) == ("unknown", "resolved")
    assert store.delivery().desired_version == after.version > before.version


def test_events_are_chosen_by_status_or_by_id(store: Store) -> None:
    first, second = keep_foreign(store, FOREIGN, enveloped(ended("other")))
    store.record(ended("accepted"))
    counts = [
        replay.count(store.database, Selection()),
        replay.count(store.database, Selection(status="accepted")),
        replay.count(store.database, Selection(status="ignored")),
        replay.count(store.database, Selection(event_ids=(first,))),
        replay.count(store.database, Selection(event_ids=(first, second, "unknown"))),
    ]
    run(store, Selection(event_ids=(second,)))

    assert counts == [2, 1, 0, 1, 2]
    assert store.row("events", event_id=first).status == "quarantined"
    assert store.row("events", event_id=second).status == "ignored"


def test_it_goes_on_page_by_page_and_tells_how_far_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    keep_foreign(store, *(enveloped(ended(f"c{number}")) for number in range(5)))
    told: list[int] = []
    with services(store) as found:
        done = replay.run(found, Selection(), told.append)

    assert done == Replayed(read=5, accepted=5, quarantined=0)
    assert told == [2, 4, 5]
    assert store.count("closures") == 5


def test_a_replay_that_was_stopped_can_be_begun_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    keep_foreign(store, *(enveloped(ended(f"c{number}")) for number in range(5)))

    def stop(_read: int) -> None:
        raise KeyboardInterrupt

    with services(store) as found, pytest.raises(KeyboardInterrupt):
        replay.run(found, Selection(), stop)
    half_way = store.count("closures")
    done = run(store)

    assert half_way == 2
    assert done == Replayed(read=3, accepted=3, quarantined=0)
    assert store.count("closures") == 5


def test_an_event_that_lay_in_the_future_is_judged_by_the_present(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record(ended(at=int(timedelta(days=365 * 30).total_seconds())))
    too_soon = run(store)
    much_later = clock.now() + timedelta(days=365 * 40)
    monkeypatch.setattr(clock, "now", lambda: much_later)

    assert too_soon == Replayed(read=1, accepted=0, quarantined=1)
    assert run(store) == Replayed(read=1, accepted=1, quarantined=0)
