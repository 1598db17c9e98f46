"""The past owed to a target: what it chooses and is not owed yet, once, in its newest version, whatever comes in."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from crm_sync import backfill
from crm_sync.backfill import Backfilled
from crm_sync.errors import Conflict, CrmSyncError, NotFound
from crm_sync.store import repairs, targets
from crm_sync.store.repairs import ANY_TIME, Past, Window
from crm_sync.store.wakeup import Wakeup
from tests.integration.builders import STARTED_MS, Store, ended, named, opened_store, parsed, started, wrapped_up

NEVER = threading.Event()
BEGAN = datetime.fromtimestamp(STARTED_MS / 1000, UTC)
SOON = 0.5
"""Seconds after which who has not come back is taken to wait."""

on_postgresql = pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as opened:
        yield opened


def add_target(store: Store, name: str = "third", **settings: Any) -> None:
    """Start a process with one more target."""
    with store.database.write() as connection:
        store.target_ids |= targets.sync(connection, named(name, **settings))


def run(store: Store, ended_within: Window = ANY_TIME, *, name: str = "third") -> Backfilled:
    """Backfill."""
    return backfill.run(store.database, name, ended_within, progress=lambda _: None, stop=NEVER)


def owe(store: Store, *conversations: str) -> int:
    """Write one page of a backfill."""
    with store.database.write() as connection:
        return repairs.owe_past(connection, "third", conversations)


def owed(store: Store, name: str = "third") -> dict[str, int]:
    """Return the version of each conversation that a target is owed."""
    found = store.rows("deliveries", target_id=store.target_ids[name])
    return {row.conversation_id: row.desired_version for row in found}


def versions(store: Store) -> dict[str, int]:
    """Return the version of each closure."""
    return {row.conversation_id: row.version for row in store.rows("closures")}


def test_a_new_target_is_owed_the_past_in_the_newest_versions_and_in_the_background(store: Store) -> None:
    store.record(ended("a"), ended("b"))
    store.record(wrapped_up("a"))
    add_target(store)
    before = owed(store)
    counted = backfill.count(store.database, "third", ANY_TIME)
    done = run(store)
    store.record(ended("new"))
    rows = store.rows("deliveries", target_id=store.target_ids["third"])

    assert before == {}
    assert counted == Past(to_owe=2, owed_already=0, not_chosen=0)
    assert done == Backfilled(count=2, is_complete=True)
    assert owed(store) == versions(store)
    assert {row.conversation_id: (row.state, row.in_background) for row in rows} == {
        "a": ("pending", True), "b": ("pending", True), "new": ("pending", False),
    }  # fmt: skip
    assert [claim.closure.conversation_id for claim in store.claim(target="third")] == ["new"]


def test_what_is_owed_or_was_told_already_stays_as_it_is(store: Store) -> None:
    store.record(*(ended(each) for each in ("pending", "delivered", "dead")))
    for state in ("delivered", "dead"):
        store.change("deliveries", where={"conversation_id": state}, state=state)
    before = store.rows("deliveries")

    assert backfill.count(store.database, "crm", ANY_TIME) == Past(to_owe=0, owed_already=3, not_chosen=0)
    assert run(store, name="crm") == Backfilled(count=0, is_complete=True)
    assert store.rows("deliveries") == before


def test_only_what_ended_is_chosen_and_lies_in_the_window_is_owed(store: Store) -> None:
    store.record(ended("before", at=100), ended("first", at=200), ended("last", at=299), ended("after", at=300))
    store.record(ended("voice", at=200, mediaType="VOICE"), ended("among us", at=200, mediaType="INTERNALMESSAGE"))
    store.record(started("open", at=200), ended("reopened", at=200))
    store.record(started("reopened", at=250, session="second"))
    add_target(store, when={"media": ["message"]})
    add_target(store, "everything")
    within = Window(since=BEGAN + timedelta(seconds=200), until=BEGAN + timedelta(seconds=300))
    counted = [backfill.count(store.database, name, within) for name in ("third", "everything")]
    run(store, within)
    run(store, within, name="everything")

    assert counted == [
        Past(to_owe=2, owed_already=0, not_chosen=2),
        Past(to_owe=3, owed_already=0, not_chosen=1),
    ]
    assert owed(store).keys() == {"first", "last"}
    assert owed(store, "everything").keys() == {"first", "last", "voice"}


def test_a_retired_or_unknown_target_is_refused(store: Store) -> None:
    store.record(ended())
    add_target(store)
    store.change("targets", where={"name": "third"}, state="retired")
    faults: list[CrmSyncError] = []
    for name in ("third", "nobody"):
        for call in (lambda n: backfill.count(store.database, n, ANY_TIME), lambda n: run(store, name=n)):
            with pytest.raises((NotFound, Conflict), match=name) as raised:
                call(name)
            faults.append(raised.value)

    assert [type(fault) for fault in faults] == [Conflict, Conflict, NotFound, NotFound]
    assert owed(store) == {}


def test_a_paused_target_is_owed_the_past_too(store: Store) -> None:
    store.record(ended("c"))
    add_target(store)
    store.change("targets", where={"name": "third"}, state="paused")
    run(store)

    assert owed(store) == versions(store)


def test_begun_again_after_a_stop_it_does_the_rest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "PAGE", 2)
    store.record(*(ended(f"c{number}") for number in range(5)))
    add_target(store)
    stop, told = threading.Event(), []

    def note(count: int) -> None:
        told.append(count)
        stop.set()

    first = backfill.run(store.database, "third", ANY_TIME, progress=note, stop=stop)
    half_way = owed(store)
    second, third = run(store), run(store)

    assert (first, told, len(half_way)) == (Backfilled(count=2, is_complete=False), [2], 2)
    assert second == Backfilled(count=3, is_complete=True)
    assert third == Backfilled(count=0, is_complete=True)
    assert owed(store) == versions(store)


def test_what_has_changed_by_its_turn_so_that_it_is_not_chosen_is_not_owed(store: Store) -> None:
    store.record(ended("closed"), ended("reopened"), ended("voice", mediaType="VOICE"))
    store.record(started("reopened", at=250, session="second"))
    add_target(store, when={"media": ["message"]})

    assert owe(store, "closed", "reopened", "voice", "unknown") == 1
    assert owed(store).keys() == {"closed"}


def test_a_backfill_wakes_the_workers(store: Store) -> None:
    store.record(ended())
    add_target(store)
    with Wakeup(store.database) as wakeup:
        run(store)

        assert wakeup.wait(60)


def test_whatever_comes_in_meanwhile_is_owed_once_and_in_its_newest_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PAGE", 3)
    past = [f"c{number:03}" for number in range(60)]
    store.record(*map(ended, past))
    add_target(store)
    at_once = threading.Barrier(4, timeout=60)

    def intake(number: int) -> None:
        at_once.wait()
        for step, conversation_id in enumerate(past):
            store.record(ended(conversation_id, at=300 + 60 * number + step), ended(f"{conversation_id}-{number}"))

    def fill() -> Backfilled:
        at_once.wait()
        return run(store)

    with ThreadPoolExecutor(4) as pool:
        intakes = [pool.submit(intake, number) for number in range(3)]
        filled = pool.submit(fill)
        assert filled.result(120).is_complete
        for each in intakes:
            each.result(120)

    assert owed(store) == versions(store)
    assert len(owed(store)) == 4 * len(past)


@on_postgresql
def test_an_intake_that_does_not_know_the_target_yet_is_waited_for(store: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:
            store.inbox.record_in(connection, parsed(ended("c")))
            add_target(store)
            filling = pool.submit(run, store)
            with pytest.raises(TimeoutError):
                filling.result(SOON)
        done = filling.result(60)

    assert done == Backfilled(count=1, is_complete=True)
    assert owed(store) == versions(store)


@on_postgresql
def test_an_intake_that_changes_a_closure_of_the_page_comes_first_and_owes_it(store: Store) -> None:
    store.record(ended("a"), ended("b"))
    add_target(store)
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:
            store.inbox.record_in(connection, parsed(wrapped_up("b")))
            owing = pool.submit(owe, store, "a", "b")
            with pytest.raises(TimeoutError):
                owing.result(SOON)
        count = owing.result(60)

    assert count == 1
    assert owed(store) == versions(store)
    assert store.delivery("b", "third").in_background is False


@on_postgresql
def test_an_intake_that_holds_a_closure_of_the_page_and_the_backfill_do_not_wait_for_each_other(store: Store) -> None:
    store.record(ended("a"), ended("b"))
    add_target(store)
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:
            connection.execute(text("SELECT version FROM closures WHERE conversation_id = 'b' FOR UPDATE"))
            owing = pool.submit(owe, store, "a", "b")
            with pytest.raises(TimeoutError):
                owing.result(SOON)
            store.inbox.record_in(connection, parsed(wrapped_up("b")))
        owing.result(60)

    assert owed(store) == versions(store)


@on_postgresql
def test_an_intake_that_changes_a_closure_behind_the_page_raises_what_is_owed(store: Store) -> None:
    store.record(ended("a"), ended("b"))
    add_target(store)
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:
            repairs.owe_past(connection, "third", ["a", "b"])
            recording = pool.submit(store.record, wrapped_up("b"))
            with pytest.raises(TimeoutError):
                recording.result(SOON)
        recording.result(60)

    assert owed(store) == versions(store)


@on_postgresql
def test_while_a_page_is_written_new_conversations_come_in(store: Store) -> None:
    store.record(ended("a"))
    add_target(store)
    with store.database.write() as connection, ThreadPoolExecutor(1) as pool:
        repairs.owe_past(connection, "third", ["a"])
        recorded = pool.submit(store.record, ended("new")).result(60)
        claimed = pool.submit(store.claim, target="third").result(60)

    assert recorded == ["accepted"]
    assert [claim.closure.conversation_id for claim in claimed] == ["new"]
