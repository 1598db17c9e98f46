"""Deliveries once more: chosen by what is true of them, never taken from a worker, none twice for one wish."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_sync import redeliver
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import Kind, NotFound
from crm_sync.redeliver import Redelivered
from crm_sync.store.repairs import Count, Wanted, Window
from crm_sync.store.wakeup import Wakeup
from tests.integration.builders import STARTED_MS, Store, ended, opened_store, paid, settlement
from tests.integration.delivering import due_now, fault, once
from tests.integration.fakes import NotingAdapter

NEVER = threading.Event()
BEGAN = datetime.fromtimestamp(STARTED_MS / 1000, UTC)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the targets `crm` and `other`."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        yield opened


def wanted(store: Store, **given: Any) -> Wanted:
    """Return a wish of now."""
    return Wanted(**{"as_of": redeliver.now(store.database)} | given)


def run(store: Store, wish: Wanted, *, stop: threading.Event = NEVER, in_background: bool = False) -> Redelivered:
    """Redeliver."""
    return redeliver.run(store.database, wish, in_background=in_background, progress=lambda _: None, stop=stop)


def bury(store: Store, *conversations: str, code: str = "some_code") -> None:
    """Let the deliveries of these conversations to `crm` be dead, each after one attempt."""
    store.record(*(ended(each) for each in conversations))
    claims = [claim for claim in store.claim() if claim.closure.conversation_id in conversations]
    store.settle(*(settlement(c, state="dead", code=code, message="It is refused.") for c in claims))


def redelivered(store: Store) -> dict[str, int]:
    """Return how often each delivery to `crm` was redelivered."""
    return {row.conversation_id: row.redelivery for row in store.rows("deliveries", target_id=store.target_id)}


def test_a_dead_delivery_is_pushed_at_once_as_if_new_and_under_a_new_key(store: Store) -> None:
    crm = NotingAdapter()
    store.record(ended("c"))
    crm.refused["c"] = fault(Kind.DATA)
    once(store, crm)
    dead = store.delivery("c")
    crm.refused.clear()
    done = run(store, wanted(store))
    due = store.delivery("c")
    once(store, crm)

    assert (dead.state, done) == ("dead", Redelivered(count=1, is_complete=True))
    assert (due.state, due.attempts, due.lost_leases, due.in_background) == ("pending", 0, 0, False)
    first, second = crm.pushes
    assert second.push_key == f"{first.push_key}.r1"
    assert store.delivery("c").state == "delivered"


def test_what_the_crm_holds_already_is_pushed_nevertheless(store: Store) -> None:
    crm = NotingAdapter()
    store.record(ended("c"))
    once(store, crm)
    crm.delete("c")
    run(store, wanted(store, states=("delivered",)))
    once(store, crm)

    assert len(crm.pushes) == 2
    assert "c" in crm.records


def test_what_waits_for_its_next_attempt_is_due_at_once_with_all_attempts_before_it(store: Store) -> None:
    store.record(ended("c"))
    (claim,) = store.claim()
    store.settle(settlement(claim, wait=timedelta(hours=5)))
    run(store, wanted(store, states=("pending",), targets=("crm",)))
    (again,) = store.claim()

    assert (again.attempts, again.push_again, again.redelivery) == (1, True, 1)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {"a", "b"}),
        ({"conversation_ids": ("a", "alive")}, {"a"}),
        ({"targets": ("other",)}, set()),
        ({"targets": ("crm", "other")}, {"a", "b"}),
        ({"states": ("delivered",)}, {"alive"}),
        ({"states": ("dead", "delivered")}, {"a", "b", "alive"}),
        ({"code": "code_b"}, {"b"}),
        ({"code": "code"}, set()),
        ({"ended": Window(since=BEGAN + timedelta(seconds=200))}, {"b"}),
        ({"ended": Window(until=BEGAN + timedelta(seconds=200))}, {"a"}),
        ({"ended": Window(since=BEGAN + timedelta(seconds=201))}, set()),
    ],
)
def test_only_what_is_wanted_is_redelivered(store: Store, given: dict[str, Any], chosen: set[str]) -> None:
    bury(store, "a", code="code_a")
    store.record(ended("alive"))
    store.settle(*map(paid, store.claim()))
    store.record(ended("b", at=200))
    (claim,) = store.claim()
    store.settle(settlement(claim, code="code_before"))
    due_now(store)
    (claim,) = store.claim()
    store.settle(settlement(claim, state="dead", code="code_b"))
    wish = wanted(store, **given)
    counted = redeliver.count(store.database, wish)
    done = run(store, wish)

    assert sum(each.count for each in counted) == done.count == len(chosen)
    assert {conversation for conversation, times in redelivered(store).items() if times} == chosen
    assert {row.redelivery for row in store.rows("deliveries", target_id=store.target_ids["other"])} == {0}


def test_they_are_counted_by_target_and_state(store: Store) -> None:
    bury(store, "a", "b")
    store.change("targets", where={"name": "other"}, state="retired")
    counted = redeliver.count(store.database, wanted(store, states=("dead", "pending")))

    assert counted == [
        Count(target="crm", target_state="live", state="dead", count=2),
        Count(target="other", target_state="retired", state="pending", count=2),
    ]


@pytest.mark.parametrize("given", [{"targets": ("crm", "nobody")}, {"conversation_ids": ("nobody",)}])
def test_what_nobody_knows_is_named(store: Store, given: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="nobody"):
        redeliver.count(store.database, wanted(store, **given))


@pytest.mark.parametrize("outcome", ["delivered", "dead"])
def test_what_a_worker_holds_is_settled_by_it_and_pushed_once_more(store: Store, outcome: str) -> None:
    store.record(ended("c"))
    (claim,) = store.claim()
    run(store, wanted(store, states=("pending",), targets=("crm",)), in_background=True)
    held = store.delivery("c")
    late = store.settle(settlement(claim, state=outcome, outcome="created", payload_hash="a" * 64, record_id="7"))
    due = store.delivery("c")
    (again,) = store.claim()

    assert (held.claim_token, held.attempts, held.in_background) == (claim.token, 1, False)
    assert late == []
    assert (due.state, due.crm_record_id, due.attempts) == ("pending", "7", 0)
    assert (again.push_again, again.redelivery) == (True, 1)


def test_an_attempt_that_is_given_back_after_a_redelivery_is_counted_right(store: Store) -> None:
    store.record(ended("c"))
    (claim,) = store.claim()
    run(store, wanted(store, states=("pending",), targets=("crm",)))
    store.settle(settlement(claim, attempt_given_back=True))

    assert store.delivery("c").attempts == 0


def test_what_is_redelivered_in_the_background_waits_for_what_is_new(store: Store) -> None:
    bury(store, "old")
    run(store, wanted(store), in_background=True)
    store.record(ended("new"))

    assert [claim.closure.conversation_id for claim in store.claim()] == ["new"]
    assert [claim.closure.conversation_id for claim in store.claim()] == ["old"]


def test_a_redelivery_wakes_the_workers(store: Store) -> None:
    bury(store, "c")
    with Wakeup(store.database) as wakeup:
        run(store, wanted(store))

        assert wakeup.wait(60)


def test_nothing_that_has_changed_since_is_redelivered(store: Store) -> None:
    wish = wanted(store)
    store.record(ended("c"))
    while redeliver.now(store.database) <= wish.as_of + timedelta(milliseconds=2):
        pass
    bury(store, "c")

    assert run(store, wish) == Redelivered(count=0, is_complete=True)


@pytest.mark.parametrize("state", ["dead", "delivered", "pending"])
def test_begun_again_after_a_stop_it_redelivers_none_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(redeliver, "PAGE", 2)
    store.record(*(ended(f"c{number}") for number in range(5)))
    store.settle(*(settlement(c, state=state, outcome="created", payload_hash="a" * 64) for c in store.claim()))
    wish, stop, told = wanted(store, states=(state,), targets=("crm",)), threading.Event(), []

    def note(count: int) -> None:
        told.append(count)
        stop.set()

    first = redeliver.run(store.database, wish, in_background=False, progress=note, stop=stop)
    # The redelivered ones are as they were before when it goes on: in the same state, but later.
    again = [claim for claim in store.claim() if claim.redelivery]
    store.settle(*(settlement(c, state=state, outcome="updated", payload_hash="a" * 64) for c in again))
    second = run(store, wish)
    third = run(store, wish)

    assert (first, told, len(again)) == (Redelivered(count=2, is_complete=False), [2], 2)
    assert second == Redelivered(count=3, is_complete=True)
    assert third == Redelivered(count=0, is_complete=True)
    assert redelivered(store) == {f"c{number}": 1 for number in range(5)}


def test_while_a_worker_pushes_each_is_redelivered_and_pushed_once_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeliver, "PAGE", 7)
    crm, done, conversations = NotingAdapter(), threading.Event(), [f"c{number}" for number in range(100)]
    store.record(*map(ended, conversations))
    while once(store, crm):
        pass
    wish = wanted(store, states=("delivered", "pending"), targets=("crm",))

    def work() -> None:
        while not done.is_set() or store.rows("deliveries", target_id=store.target_id, state="pending"):
            once(store, crm, batch=10)

    worker = threading.Thread(target=work)
    worker.start()
    store.record(*(ended(each, at=500) for each in conversations[::2]))
    run(store, wish, in_background=True)
    done.set()
    worker.join(60)

    # Half of them changed meanwhile. Those are pushed by themselves, unless they were redelivered before that.
    times = redelivered(store)
    assert {times[each] for each in conversations[1::2]} == {1}
    keys = Counter(push.conversation_id for push in crm.pushes if push.push_key.endswith(".r1"))
    assert all(keys[each] == 1 for each in conversations[1::2])
    assert {row.state for row in store.rows("deliveries", target_id=store.target_id)} == {"delivered"}
    newest = {row.conversation_id: row.version for row in store.rows("closures")}
    assert {each: crm.records[each].version for each in conversations} == newest


def test_a_memory_that_forgot_everything_is_filled_again(store: Store) -> None:
    crm = MemoryAdapter()
    store.record(*(ended(f"c{number}") for number in range(30)))
    while once(store, crm):
        pass
    before = dict(crm.records)
    crm.records.clear()
    run(store, wanted(store, states=("delivered",), targets=("crm",)), in_background=True)
    while once(store, crm):
        pass

    assert crm.records == before
