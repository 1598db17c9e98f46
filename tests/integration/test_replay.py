"""Kept events through the same door again, once what kept them out has been mended."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_sync import clock, replay
from crm_sync.closure import EventStatus
from crm_sync.errors import NotFound
from crm_sync.replay import Replayed, Selection
from crm_sync.services import Services, opened
from crm_sync.settings import Settings
from crm_sync.settings_genesys import GenesysSettings
from crm_sync.store.repairs import Window
from tests.integration.builders import (
    CONVERSATION,
    ORGANIZATION,
    SOLVED,
    Store,
    agent_left,
    ended,
    enveloped,
    opened_store,
    parsed,
    started,
)
from tests.integration.builders import wrapped_up as solved

FOREIGN = enveloped(ended())
QUARANTINED = Selection(statuses=("quarantined",))
NEVER = threading.Event()
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
TABLES = ("events", "closures", "deliveries", "conversation_people")


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


def run(store: Store, selection: Selection = QUARANTINED, *, dry_run: bool = False, **settings: Any) -> Replayed:
    """Replay, by default what is quarantined."""
    with services(store, **settings) as found:
        return replay.run(found, selection, progress=lambda _read: None, stop=NEVER, dry_run=dry_run)


def counts(done: Replayed) -> tuple[int, int, int]:
    """Return how many events were read, are understood, and still are not."""
    return done.read, done.accepted, done.quarantined


def keep_foreign(store: Store, *bodies: bytes) -> list[str]:
    """Record these bodies while the setting names another organization, and return their ids."""
    return [recorded.event_id for recorded in store.inbox.record(parsed(*bodies, organization_id="mistaken"))]


def test_an_event_is_merged_once_its_cause_has_been_mended(store: Store) -> None:
    (event_id,) = keep_foreign(store, FOREIGN)
    before = store.row("events").status, store.count("closures")
    done = run(store)
    merged, kept = store.row("events", status="accepted"), store.row("events", event_id=event_id)

    assert before == ("quarantined", 0)
    assert counts(done) == (1, 1, 0)
    assert store.row("closures").closed is True
    assert store.delivery().state == "pending"
    assert (merged.source, merged.conversation_id, merged.body) == ("replay", CONVERSATION, FOREIGN)
    assert (kept.status, kept.reason) == ("ignored", f"understood by a replay, as {merged.event_id}")


def test_what_still_cannot_be_read_stays_quarantined(store: Store) -> None:
    keep_foreign(store, FOREIGN)
    store.record(b"{")
    before = store.rows("events")
    done = run(store, organization_id="still mistaken")

    assert counts(done) == (2, 0, 2)
    assert store.rows("events") == before
    assert store.count("closures") == 0


def test_a_second_replay_changes_nothing(store: Store) -> None:
    keep_foreign(store, FOREIGN, solved())
    run(store)
    run(store, Selection(statuses=("accepted",)))
    before = [store.rows(table) for table in TABLES]
    again = [run(store), run(store, Selection(statuses=("accepted",))), run(store, Selection(statuses=("ignored",)))]

    assert [done.read for done in again] == [0, 2, 1]
    assert [store.rows(table) for table in TABLES] == before


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

    assert counts(done) == (1, 1, 0)
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

    assert counts(done) == (2, 1, 1)
    assert [event.body for event in store.rows("events", status="quarantined")] == [poison]
    assert store.row("closures").conversation_id == CONVERSATION


def test_a_wrap_up_code_that_has_been_explained_since_resolves_what_it_closed(store: Store) -> None:
    with services(store) as found:
        found.intake.record(parsed(ended(), solved()))
    before = store.row("closures")
    run(store, Selection(statuses=("accepted",)), resolution={"wrapup_codes": {SOLVED: "resolved"}})
    after = store.row("closures")

    assert (before.resolution, after.resolution) == ("unknown", "resolved")
    assert store.delivery().desired_version == after.version > before.version


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {"early", "late", "broken"}),
        ({"statuses": ("quarantined",)}, {"broken"}),
        ({"statuses": ("quarantined", "accepted")}, {"early", "late", "broken"}),
        ({"statuses": ("ignored",)}, set()),
        ({"kinds": ("wrapup",)}, {"late"}),
        ({"kinds": ("wrapup", "customer.end")}, {"early", "late"}),
        ({"sources": ("webhook",)}, {"early", "late", "broken"}),
        ({"sources": ("replay",)}, set()),
        ({"conversation_ids": ("c1",)}, {"early"}),
        ({"received": Window(since=NOON)}, {"late", "broken"}),
        ({"received": Window(until=NOON)}, {"early"}),
        ({"received": Window(since=NOON), "statuses": ("accepted",)}, {"late"}),
    ],
)
def test_only_events_that_fit_all_that_is_given_are_replayed(
    store: Store, given: dict[str, Any], chosen: set[str]
) -> None:
    bodies = {"early": ended("c1"), "late": solved("c2"), "broken": b"{"}
    names = {}
    for name, each in bodies.items():
        (recorded,) = store.inbox.record(parsed(each))
        names[recorded.event_id] = name
        received_at = NOON - timedelta(seconds=name == "early")
        store.change("events", where={"event_id": recorded.event_id}, received_at=received_at)
    by_id = {name: event_id for event_id, name in names.items()}
    selection = Selection(**given)
    alone = {name for name in bodies if replay.count(store.database, replace(selection, event_ids=(by_id[name],)))}

    assert alone == chosen
    assert replay.count(store.database, selection) == len(chosen)
    assert run(store, selection).read == len(chosen)


def test_events_are_chosen_by_id(store: Store) -> None:
    first, second = keep_foreign(store, FOREIGN, enveloped(ended("other")))
    counted = replay.count(store.database, Selection(event_ids=(first, second)))
    run(store, Selection(event_ids=(second,)))

    assert counted == 2
    assert store.row("events", event_id=first).status == "quarantined"
    assert store.row("events", event_id=second).status == "ignored"


def test_an_id_that_nobody_knows_is_named(store: Store) -> None:
    (known,) = keep_foreign(store, FOREIGN)
    with pytest.raises(NotFound, match="nobody"):
        replay.count(store.database, Selection(event_ids=(known, "nobody")))


def test_it_goes_on_page_by_page_and_tells_how_far_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    keep_foreign(store, *(enveloped(ended(f"c{number}")) for number in range(5)))
    told: list[int] = []
    with services(store) as found:
        done = replay.run(found, QUARANTINED, progress=told.append, stop=NEVER)

    assert counts(done) == (5, 5, 0)
    assert told == [2, 4, 5]
    assert store.count("closures") == 5


def test_a_replay_that_was_stopped_can_be_begun_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    keep_foreign(store, *(enveloped(ended(f"c{number}")) for number in range(5)))

    stop = threading.Event()
    with services(store) as found:
        first = replay.run(found, QUARANTINED, progress=lambda _read: stop.set(), stop=stop)
    half_way = store.count("closures")
    done = run(store, replace(QUARANTINED, after=first.after))

    assert (counts(first), first.is_complete, half_way) == ((2, 2, 0), False, 2)
    assert (counts(done), done.is_complete) == ((3, 3, 0), True)
    assert store.count("closures") == 5


def test_what_was_read_before_a_stop_is_not_read_again_although_it_still_fits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    store.record(b"{", b"[", b"}")
    stop = threading.Event()
    with services(store) as found:
        first = replay.run(found, QUARANTINED, progress=lambda _read: stop.set(), stop=stop)

    assert counts(first) == (2, 0, 2)
    assert counts(run(store, replace(QUARANTINED, after=first.after))) == (1, 0, 1)


def test_a_dry_run_tells_what_would_come_of_it_and_stores_nothing(store: Store) -> None:
    keep_foreign(store, FOREIGN, enveloped(ended("other")), enveloped(agent_left("other")))
    store.record(b"{", started("other"))
    before = [store.rows(table) for table in TABLES]
    done = run(store, dry_run=True)
    after = [store.rows(table) for table in TABLES]
    real = run(store)

    assert (counts(done), done.closures_changed) == ((4, 3, 1), 2)
    assert after == before
    assert (counts(real), real.closures_changed) == ((4, 3, 1), None)
    assert store.count("closures") == 2


def test_a_dry_run_counts_the_closures_that_a_changed_resolution_map_would_change(store: Store) -> None:
    with services(store) as found:
        found.intake.record(parsed(ended(), solved(), ended("other"), organization_id=ORGANIZATION))
    accepted = Selection(statuses=("accepted",))
    unchanged = run(store, accepted, dry_run=True)
    changed = run(store, accepted, dry_run=True, resolution={"wrapup_codes": {SOLVED: "resolved"}})

    assert (unchanged.accepted, unchanged.closures_changed) == (3, 0)
    assert (changed.accepted, changed.closures_changed) == (3, 1)
    assert {row.resolution for row in store.rows("closures")} == {"unknown"}


def test_an_event_that_lay_in_the_future_is_judged_by_the_present(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record(ended(at=int(timedelta(days=365 * 30).total_seconds())))
    too_soon = run(store)
    much_later = clock.now() + timedelta(days=365 * 40)
    monkeypatch.setattr(clock, "now", lambda: much_later)

    assert counts(too_soon) == (1, 0, 1)
    assert counts(run(store)) == (1, 1, 0)
