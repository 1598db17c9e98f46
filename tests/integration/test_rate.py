"""How fast lanes push together: the rate, what is charged to it, batches at once, and a CRM that asks for less."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock, deliver
from crm_sync.adapters.memory import Failing, MemoryAdapter
from crm_sync.deliver import MOST_CALLS, Lane
from crm_sync.errors import Kind
from crm_sync.settings import WorkerSettings
from tests.integration.builders import Store, ended, opened_store, wrapped_up
from tests.integration.delivering import fault, lane_to, once, turn
from tests.integration.fakes import REFUSED, AtomicAdapter, BusyAdapter

SLOW: dict[str, Any] = {"rate": 0.01, "burst": 10}
"""So slow that no permit comes back while a test runs; one comes back in each hundred seconds."""

INTERVAL = timedelta(seconds=100)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`, which is owed thirty conversations."""
    with opened_store(migrated_url) as opened:
        owe(opened, 30)
        yield opened


@pytest.fixture
def crm() -> BusyAdapter:
    """The CRM."""
    return BusyAdapter()


def owe(store: Store, count: int) -> None:
    """Owe so many conversations, the first having been due the longest."""
    names = [f"c{number:02}" for number in range(count)]
    store.record(*map(ended, names))
    for place, name in enumerate(names):
        due_at = clock.now() - timedelta(hours=1) + timedelta(seconds=place)
        store.change("deliveries", where={"conversation_id": name}, due_at=due_at)


def used(store: Store) -> int:
    """Return how many permits are used up at present."""
    tat = store.row("targets").tat
    return 0 if tat is None else round((tat - clock.now()) / INTERVAL)


def drain(store: Store, lane: Lane) -> None:
    """Let a lane work until it finds nothing."""
    while turn(store, lane) != [0]:
        pass


def untouched(store: Store) -> int:
    """Return how many deliveries look as if nobody had ever claimed them."""
    rows = store.rows("deliveries", state="pending", attempts=0, claim_token=None, lease_until=None, lost_leases=0)
    return len(rows)


def test_lanes_of_several_workers_keep_the_rate_together(store: Store, crm: BusyAdapter) -> None:
    lanes = [lane_to(store, crm, batch=2, **SLOW) for _ in range(3)]
    found = [turn(store, *lanes) for _ in range(4)]
    at_once = crm.sent
    store.let_pass(4 * INTERVAL)
    for _ in range(3):
        turn(store, *lanes)

    assert found[-1] == [0, 0, 0]
    assert at_once == 10
    assert crm.sent == 14


@pytest.mark.parametrize(("batch", "burst"), [(1, 10), (2, 10), (3, 10), (10, 10), (100, 10)])
def test_a_lane_uses_all_that_the_rate_permits(store: Store, crm: BusyAdapter, batch: int, burst: int) -> None:
    drain(store, lane_to(store, crm, batch=batch, rate=0.01, burst=burst))

    assert crm.sent > burst - batch or crm.sent == burst
    assert used(store) == crm.sent <= burst


def test_a_batch_waits_until_the_whole_of_it_may_go(store: Store, crm: BusyAdapter) -> None:
    lane = lane_to(store, crm, batch=5, rate=0.01, burst=5)
    turn(store, lane)
    store.let_pass(4 * INTERVAL)
    too_early = turn(store, lane), deliver.look(lane, store.database)
    store.let_pass(INTERVAL)
    in_time = deliver.look(lane, store.database), turn(store, lane)

    assert too_early == ([0], deliver.POLL_SECONDS)
    assert in_time == (0, [5])


def test_a_burst_smaller_than_a_batch_is_all_that_goes_at_once(store: Store, crm: BusyAdapter) -> None:
    found = turn(store, lane_to(store, crm, batch=100, rate=0.01, burst=3))

    assert found == [3]
    assert crm.calls == [["c00", "c01", "c02"]]


def test_what_was_claimed_and_needed_no_push_is_not_charged(store: Store, crm: BusyAdapter) -> None:
    fields = {"Ended": "ended_at"}
    once(store, crm, batch=3, fields=fields)
    store.record(*(wrapped_up(f"c{number:02}") for number in range(3)))
    store.change("deliveries", where={"state": "pending", "delivered_version": None}, state="dead")
    found = once(store, crm, fields=fields, **SLOW)

    assert (found, crm.sent) == (3, 3)
    assert used(store) == 0


def test_the_halves_of_a_refused_batch_are_charged_too(store: Store) -> None:
    crm = AtomicAdapter()
    crm.refused["c00"] = REFUSED
    once(store, crm, batch=4, **SLOW)

    assert sum(crm.sizes) == 4 + 2 + 1 + 1 + 2
    assert used(store) == sum(crm.sizes)


@pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.QUOTA])
def test_when_the_crm_asks_for_less_the_rest_goes_back_unsent_and_uncharged(store: Store, kind: Kind) -> None:
    busy = BusyAdapter(lambda: None, lambda: busy.script.append(Failing(fault=fault(kind))))
    lane = lane_to(store, busy, batch=2, **SLOW)
    lane.batches = 5
    found = turn(store, lane)
    states = [(row.conversation_id, row.state) for row in store.rows("deliveries")][:4]

    assert (found, busy.calls) == ([10], [["c00", "c01"], ["c02", "c03"]])
    assert states == [("c00", "delivered"), ("c01", "delivered"), ("c02", "pending"), ("c03", "pending")]
    assert untouched(store) == 28
    assert used(store) == 4
    assert turn(store, lane, lane_to(store, busy)) == [0, 0]


@pytest.mark.parametrize("rate", [{}, SLOW])
def test_a_stop_in_the_middle_gives_the_rest_back_unsent(store: Store, rate: dict[str, Any]) -> None:
    crm = BusyAdapter(lambda: None, lambda: lane.stop.set())
    lane = lane_to(store, crm, batch=2, **rate)
    lane.batches = 5
    turn(store, lane)

    assert len(crm.calls) == 2
    assert len(store.rows("deliveries", state="delivered")) == 4
    assert untouched(store) == 26
    assert used(store) == (4 if rate else 0)


def test_what_comes_back_late_is_not_sent_twice_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permits of a slow lane have come back by the time: it cannot give them back as well."""
    hours, then = WorkerSettings(lease_seconds=3600, push_deadline_seconds=1800), clock.monotonic()

    def take_long() -> None:
        monkeypatch.setattr(clock, "monotonic", lambda: then + 10 * INTERVAL.total_seconds())
        store.let_pass(10 * INTERVAL)
        turn(store, other)
        slow.stop.set()

    crm = BusyAdapter(take_long)
    slow, other = (lane_to(store, crm, worker=hours, batch=1, **SLOW) for _ in range(2))
    slow.batches, other.batches = 9, 10
    turn(store, slow)
    sent_before = crm.sent
    drain(store, lane_to(store, crm, batch=1, **SLOW))

    assert sent_before == 1 + 10
    assert crm.sent == sent_before


def test_a_lane_claims_twice_as_much_each_time_that_there_was_more(store: Store, crm: MemoryAdapter) -> None:
    owe(store, 40)
    lane = lane_to(store, crm, batch=1)
    found: list[int] = []
    while not found or found[-1]:
        found += turn(store, lane)
    store.record(ended("one more"))

    assert MOST_CALLS == 16
    assert found == [1, 2, 4, 8, 16, 9, 0]
    assert lane.batches == 1
    assert turn(store, lane) == [1]


def test_a_lane_that_may_have_left_something_wakes_another(store: Store, crm: MemoryAdapter) -> None:
    lane = lane_to(store, crm, batch=30)
    turn(store, lane)
    began_at = clock.monotonic()
    lane.bell.wait(30)
    rang = clock.monotonic() - began_at < 10
    store.record(ended("one more"))
    turn(store, lane)
    lane.bell.wait(0.1)

    assert rang
    assert clock.monotonic() - began_at >= 0.1
