"""A target renamed, and removed with its debts: under its id, only once it is retired, whatever comes in meanwhile."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from crm_sync.errors import Conflict, NotFound
from crm_sync.store import repairs, targets
from tests.integration.builders import Store, ended, named, opened_store, paid, parsed

SOON = 0.5
"""Seconds after which who has not come back is taken to wait."""

on_postgresql = pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the targets `crm` and `old`."""
    with opened_store(migrated_url, names=("crm", "old")) as opened:
        yield opened


def rename(store: Store, old: str, new: str) -> None:
    """Rename a target."""
    with store.database.write() as connection:
        repairs.rename(connection, old, new)


def retire(store: Store, name: str = "old") -> None:
    """Let a target be retired."""
    store.change("targets", where={"name": name}, state="retired")


def end_debts(store: Store, name: str = "old", *, limit: int = 100) -> int:
    """End a page of a target's debts."""
    with store.database.write() as connection:
        return repairs.end_debts(connection, name, limit=limit)


def remove(store: Store, name: str = "old") -> bool:
    """Remove a target that is owed nothing."""
    with store.database.write() as connection:
        return repairs.remove(connection, name)


def test_a_renamed_target_keeps_its_id_and_what_it_is_owed(store: Store) -> None:
    store.record(ended())
    rename(store, "old", "new")
    with store.database.write() as connection:
        ids = targets.sync(connection, named("crm", "new"))

    assert ids == {"crm": store.target_ids["crm"], "new": store.target_ids["old"]}
    assert store.delivery(target="old").state == "pending"
    assert store.count("targets") == 2


def test_a_name_that_is_taken_or_unknown_is_refused(store: Store) -> None:
    before = store.rows("targets")
    with pytest.raises(Conflict, match="crm"):
        rename(store, "old", "crm")
    with pytest.raises(NotFound, match="nobody"):
        rename(store, "nobody", "new")

    assert store.rows("targets") == before


@pytest.mark.parametrize("state", ["live", "paused"])
def test_a_target_that_is_served_is_not_removed(store: Store, state: str) -> None:
    store.record(ended())
    store.change("targets", where={"name": "old"}, state=state)
    for end in (end_debts, remove):
        with pytest.raises(Conflict, match=f"old is {state}"):
            end(store)

    assert store.delivery(target="old").state == "pending"
    assert store.count("targets") == 2


def test_a_retired_target_is_removed_with_its_debts_and_their_attempts_alone(store: Store) -> None:
    store.record(*(ended(f"c{number}") for number in range(5)))
    for name in ("crm", "old"):
        store.settle(*(paid(claim) for claim in store.claim(limit=2, target=name)))
    retire(store)
    too_early = remove(store)
    ended_counts = [end_debts(store, limit=3), end_debts(store, limit=3), end_debts(store, limit=3)]
    removed = remove(store)

    assert (too_early, ended_counts, removed) == (False, [3, 2, 0], True)
    assert [row.name for row in store.rows("targets")] == ["crm"]
    assert {row.target_id for row in store.rows("deliveries")} == {store.target_ids["crm"]}
    assert (store.count("deliveries"), store.count("delivery_attempts"), store.count("closures")) == (5, 2, 5)


def test_what_came_in_for_it_meanwhile_ends_with_it_and_harms_no_intake(store: Store) -> None:
    conversations = [f"c{number:02}" for number in range(40)]
    store.record(*map(ended, conversations))
    retire(store)
    at_once = threading.Barrier(4, timeout=60)

    def intake(number: int) -> list[str]:
        at_once.wait()
        return [
            status
            for step, conversation_id in enumerate(conversations)
            for status in store.record(ended(conversation_id, at=300 + 60 * number + step))
        ]

    def remove_all() -> None:
        at_once.wait()
        while end_debts(store, limit=3) or not remove(store):
            pass

    with ThreadPoolExecutor(4) as pool:
        intakes = [pool.submit(intake, number) for number in range(3)]
        pool.submit(remove_all).result(120)
        answers = [intake.result(120) for intake in intakes]

    assert answers == [["accepted"] * len(conversations)] * 3
    assert [row.name for row in store.rows("targets")] == ["crm"]
    newest = {row.conversation_id: row.version for row in store.rows("closures")}
    assert {row.conversation_id: row.desired_version for row in store.rows("deliveries")} == newest


@on_postgresql
def test_an_intake_that_has_just_owed_it_something_is_waited_for(store: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:
            store.inbox.record_in(connection, parsed(ended()))
            retire(store)
            removing = pool.submit(remove, store)
            with pytest.raises(TimeoutError):
                removing.result(SOON)
        too_early = not removing.result(60)

    assert too_early
    assert end_debts(store) == 1
    assert remove(store)


def test_a_process_that_names_a_removed_target_again_makes_a_new_one(store: Store) -> None:
    store.record(ended())
    retire(store)
    end_debts(store)
    remove(store)
    with store.database.write() as connection:
        ids = targets.sync(connection, named("crm", "old"))

    assert [row.state for row in store.rows("targets")] == ["live", "live"]
    assert store.rows("deliveries", target_id=ids["old"]) == []
