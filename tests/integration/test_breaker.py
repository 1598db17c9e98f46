"""The breaker at work: who makes it open, who may try while it is half open, and what a try tells."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from crm_sync import clock
from crm_sync.adapters.memory import Failing, MemoryAdapter
from crm_sync.errors import Kind
from tests.integration.builders import Store, ended, opened_store, paid, wrapped_up
from tests.integration.delivering import fault, lane_to, once, turn
from tests.integration.fakes import BrokenAdapter, BusyAdapter, CrookedAdapter

AWAY = Failing(fault=fault(Kind.RETRYABLE))
REST, LEASE = timedelta(seconds=31), timedelta(seconds=61)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as opened:
        yield opened


@pytest.fixture
def crm() -> MemoryAdapter:
    """The CRM."""
    return MemoryAdapter()


@pytest.fixture
def logged() -> Iterator[Callable[[], list[str]]]:
    """What the worker says of the breaker, in its order."""
    structlog.reset_defaults()
    with capture_logs() as entries:
        yield lambda: [entry["event"] for entry in entries if entry["event"].startswith("breaker_")]


def owe(store: Store, *conversations: str) -> None:
    """Owe these conversations, the first having been due the longest."""
    store.record(*map(ended, conversations))
    order(store, *conversations)


def order(store: Store, *conversations: str) -> None:
    """Let these have been due in this order, for a while."""
    for place, conversation in enumerate(conversations):
        due_at = clock.now() - timedelta(hours=1) + timedelta(minutes=place)
        store.change("deliveries", where={"conversation_id": conversation}, due_at=due_at)


def open_it(store: Store) -> None:
    """Let the breaker be open, and its rest be over."""
    past = clock.now() - timedelta(seconds=1)
    store.change("targets", failures=5, trips=1, open_until=past)


def is_closed(store: Store) -> bool:
    """Tell whether pushes go on as usual."""
    return store.row("targets").open_until is None


def failures(store: Store) -> int:
    """Return how many calls have failed in a row."""
    return int(store.row("targets").failures)


def test_after_five_calls_in_a_row_that_failed_nothing_is_tried(
    store: Store, crm: MemoryAdapter, logged: Callable[[], list[str]]
) -> None:
    owe(store, *(f"c{number}" for number in range(6)))
    crm.script.extend([AWAY] * 5)
    for _ in range(5):
        assert once(store, crm, batch=1) == 1
    told = logged()

    assert once(store, crm, batch=1) == 0
    assert told == ["breaker_opened"]
    assert (store.delivery("c5").attempts, crm.effects) == (0, [])


def test_an_answered_call_between_begins_the_count_anew(store: Store, crm: MemoryAdapter) -> None:
    owe(store, *(f"c{number}" for number in range(10)))
    for failing in (4, 0, 4):
        crm.script.extend([AWAY] * failing)
        for _ in range(max(1, failing)):
            assert once(store, crm, batch=1) == 1

    assert is_closed(store)
    assert failures(store) == 4


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.GONE, Kind.CONFLICT])
def test_a_crm_that_refuses_records_is_there(store: Store, crm: MemoryAdapter, kind: Kind) -> None:
    crm.refused = {f"c{number}": fault(kind) for number in range(7)}
    owe(store, *crm.refused)
    for _ in crm.refused:
        assert once(store, crm, batch=1) == 1

    assert (is_closed(store), failures(store)) == (True, 0)


@pytest.mark.parametrize("crm", [CrookedAdapter(lambda _: None), BrokenAdapter()], ids=["receipts", "preparing"])
def test_defects_of_an_adapter_tell_nothing_of_its_crm(store: Store, crm: MemoryAdapter) -> None:
    for _ in range(7):
        owe(store, "broken")
        order(store, "broken")
        assert once(store, crm) == 1

    assert (is_closed(store), failures(store)) == (True, 0)


def test_one_delivery_tries_while_all_other_lanes_wait(store: Store, logged: Callable[[], list[str]]) -> None:
    owe(store, "a", "b", "c")
    open_it(store)
    others: list[int] = []
    busy = BusyAdapter(lambda: others.extend(turn(store, lane_to(store, busy), lane_to(store, busy))))
    found = once(store, busy)
    after = once(store, busy)

    assert (found, others, after) == (1, [0, 0], 2)
    assert busy.calls == [["a"], ["b", "c"]]
    assert logged() == ["breaker_probes", "breaker_closed"]


def test_each_try_that_fails_doubles_the_rest(
    store: Store, crm: MemoryAdapter, logged: Callable[[], list[str]]
) -> None:
    owe(store, *(f"c{number}" for number in range(4)))
    open_it(store)
    rests = []
    for number in range(3):
        crm.script.append(AWAY)
        assert once(store, crm) == 1
        rests.append(round((store.row("targets").open_until - clock.now()).total_seconds(), -1))
        assert once(store, crm) == 0
        store.change("targets", open_until=clock.now() - timedelta(seconds=1))
        order(store, f"c{number + 1}")

    assert rests == [60, 120, 240]
    assert logged() == ["breaker_probes", "breaker_opened"] * 3


@pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.AUTH, Kind.DATA])
def test_any_answer_to_the_try_closes_it(store: Store, crm: MemoryAdapter, kind: Kind) -> None:
    owe(store, "a")
    open_it(store)
    crm.refused["a"] = fault(kind)
    once(store, crm)

    assert (is_closed(store), failures(store)) == (True, 0)


def test_calls_that_had_begun_before_it_opened_change_nothing_by_failing(store: Store) -> None:
    owe(store, *(f"c{number}" for number in range(9)))

    def begin_another() -> None:
        busy.script.append(AWAY)
        once(store, busy, batch=1)

    busy = BusyAdapter(*[begin_another] * 7)
    busy.script.append(AWAY)
    once(store, busy, batch=1)
    target = store.row("targets")

    assert len(busy.calls) == 8
    assert (target.failures, target.trips) == (5, 1)


def test_a_try_whose_worker_died_is_followed_by_another_a_lease_later(store: Store, crm: MemoryAdapter) -> None:
    owe(store, "a", "b")
    open_it(store)
    assert store.claim()
    waiting = once(store, crm)
    store.let_pass(LEASE)
    found = [once(store, crm), once(store, crm)]

    assert (waiting, found) == (0, [1, 1])
    assert is_closed(store)
    assert {row.state for row in store.rows("deliveries")} == {"delivered"}


def test_a_record_that_always_fails_does_not_keep_the_target_shut_for_the_others(
    store: Store, crm: MemoryAdapter
) -> None:
    owe(store, "poison", "good")
    open_it(store)
    crm.refused["poison"] = fault(Kind.RETRYABLE)
    first = once(store, crm)
    store.let_pass(2 * REST)
    second = once(store, crm)

    assert (first, second) == (1, 1)
    assert (store.delivery("poison").state, store.delivery("good").state) == ("pending", "delivered")
    assert is_closed(store)


@pytest.mark.parametrize("why", ["unchanged", "cannot be prepared", "took its worker down", "no time is left"])
def test_a_try_that_needed_no_call_lets_the_next_one_try_at_once(store: Store, why: str) -> None:
    crm, fields = BrokenAdapter(), {"Ended": "ended_at"}
    owe(store, "broken" if why == "cannot be prepared" else "first")
    if why == "unchanged":
        once(store, crm, fields=fields)
        store.record(wrapped_up("first"))
    elif why == "took its worker down":
        store.change("deliveries", lost_leases=4)
    owe(store, "second")
    order(store, "broken", "first", "second")
    open_it(store)
    tries = lane_to(store, crm, fields=fields)
    if why == "no time is left":
        tries.stop.set()
    first = turn(store, tries)
    second = once(store, crm, fields=fields)

    assert (first, second) == ([1], 1)
    assert is_closed(store)


def test_a_late_answer_of_a_try_that_was_given_up_closes_it_all_the_same(store: Store) -> None:
    owe(store, "a", "b")
    open_it(store)

    def lose_the_lease() -> None:
        store.let_pass(LEASE)
        (claim,) = store.claim()
        store.settle(paid(claim))

    once(store, BusyAdapter(lose_the_lease))

    assert is_closed(store)
