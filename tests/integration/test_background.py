"""What waits in the background: pushed when nothing else of its target is due, and only then."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from crm_sync import clock
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import Kind
from crm_sync.pace import Rate
from crm_sync.store import outbox
from crm_sync.store.outbox import Claim
from tests.integration.builders import Store, ended, opened_store, paid, wrapped_up
from tests.integration.delivering import due_now, fault, once

HOUR = timedelta(hours=1)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store that owes `old1` and `old2` in the background, for a day, and `new1` and `new2` since now."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        for name in ("old1", "old2", "new1", "new2"):
            opened.record(ended(name))
        for name in ("old1", "old2"):
            put_back(opened, name)
        yield opened


def put_back(store: Store, name: str) -> None:
    """Let this conversation have waited in the background for a day."""
    due_at = clock.now() - timedelta(days=1)
    store.change("deliveries", where={"conversation_id": name}, in_background=True, due_at=due_at)


def names(claims: list[Claim]) -> list[str]:
    """Return the conversations of these claims."""
    return [claim.closure.conversation_id for claim in claims]


def is_due(store: Store) -> bool:
    """Ask whether a claim may find something."""
    with store.database.read() as connection:
        return outbox.wait(connection, store.target_id, limit=1) == timedelta()


def test_what_is_new_goes_first_however_long_the_old_has_waited(store: Store) -> None:
    found = [names(store.claim(limit=1)) for _ in range(4)]

    assert found == [["new1"], ["new2"], ["old1"], ["old2"]]


def test_a_claim_never_mixes_them(store: Store) -> None:
    assert [names(store.claim(limit=3)) for _ in range(3)] == [["new1", "new2"], ["old1", "old2"], []]


def test_what_is_new_overtakes_a_backlog_in_the_background(store: Store) -> None:
    store.settle(*map(paid, store.claim()))
    first = names(store.claim(limit=1))
    store.record(ended("newest"))

    assert first == ["old1"]
    assert [names(store.claim(limit=1)) for _ in range(2)] == [["newest"], ["old2"]]


def test_what_is_new_and_waits_for_its_time_or_is_in_other_hands_holds_nothing_up(store: Store) -> None:
    store.change("deliveries", where={"conversation_id": "new1"}, due_at=clock.now() + HOUR)
    held = names(store.claim(limit=1))

    assert held == ["new2"]
    assert names(store.claim()) == ["old1", "old2"]


def test_another_targets_new_deliveries_hold_nothing_up(store: Store) -> None:
    assert names(store.claim()) == ["new1", "new2"]
    assert names(store.claim()) == ["old1", "old2"]
    assert names(store.claim(target="other")) == ["new1", "new2"]


def test_what_waits_in_the_background_is_looked_for(store: Store) -> None:
    store.settle(*map(paid, store.claim()))
    seen = is_due(store)
    store.settle(*map(paid, store.claim()))

    assert (seen, is_due(store)) == (True, False)


def test_a_change_of_its_closure_brings_it_to_the_front(store: Store) -> None:
    store.record(wrapped_up("old2"))

    assert not store.delivery("old2").in_background
    assert names(store.claim()) == ["old2", "new1", "new2"]


def test_a_change_during_its_push_brings_it_to_the_front_for_the_next_one(store: Store) -> None:
    store.settle(*map(paid, store.claim()))
    old = store.claim()
    store.record(wrapped_up("old1"))
    store.settle(*map(paid, old))

    assert (store.delivery("old1").state, store.delivery("old1").in_background) == ("pending", False)


def test_what_is_delivered_already_is_owed_anew_like_anything_else(store: Store) -> None:
    for _ in range(2):
        store.settle(*map(paid, store.claim()))
    put_back(store, "new1")
    store.record(ended("newer"), wrapped_up("old1"))

    assert set(names(store.claim())) == {"old1", "newer"}


def test_what_fails_in_the_background_stays_there(store: Store) -> None:
    crm = MemoryAdapter()
    once(store, crm)
    crm.refused = {"old1": fault(Kind.RETRYABLE)}
    once(store, crm)
    due_now(store)
    store.record(ended("newest"))

    assert store.delivery("old1").in_background
    assert [names(store.claim(limit=1)) for _ in range(2)] == [["newest"], ["old1"]]


def test_what_has_killed_a_worker_in_the_background_is_claimed_alone_and_holds_nothing_up(store: Store) -> None:
    store.change("deliveries", where={"conversation_id": "old1"}, lost_leases=1)

    assert names(store.claim()) == ["new1", "new2"]
    assert [names(store.claim()) for _ in range(2)] == [["old1"], ["old2"]]


def test_the_try_of_a_breaker_and_the_permits_of_a_rate_go_to_what_is_new(store: Store) -> None:
    store.change("targets", failures=5, trips=1, open_until=clock.now() - timedelta(seconds=1))
    probe = names(store.claim())
    store.change("targets", failures=0, trips=0, open_until=None)

    assert probe == ["new1"]
    assert names(store.claim(limit=1, rate=Rate(per_second=0.01, burst=1))) == ["new2"]
