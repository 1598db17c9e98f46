"""What may have killed a worker is pushed while that worker pushes nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from crm_sync import clock, deliver
from crm_sync.adapters.memory import MemoryAdapter
from tests.integration.builders import Store, ended, opened_store
from tests.integration.delivering import lane_to, turn
from tests.integration.fakes import BusyAdapter

ELSEWHERE = object()
"""Another lane of the same worker."""


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with one target."""
    with opened_store(migrated_url) as opened:
        yield opened


def lose(store: Store, times: int, **of: str) -> None:
    """Let deliveries look as after a claim whose worker died, when it had died so often before."""
    long_ago = clock.now() - timedelta(minutes=1)
    store.change("deliveries", lost_leases=times - 1, lease_until=long_ago, claim_token="t" * 32, **of)


def test_after_two_losses_nobody_else_is_in_the_room(store: Store) -> None:
    store.record(ended("a"))
    lose(store, 2)
    room: list[bool] = []
    crm = BusyAdapter(lambda: room.append(lane.holds.room.enter(ELSEWHERE, 0)))
    lane = lane_to(store, crm)
    claimed = turn(store, lane)

    assert (claimed, room, crm.sent) == ([1], [False], 1)
    assert lane.holds.room.enter(ELSEWHERE, 0), "it has left"
    assert store.row("deliveries").state == "delivered"


def test_after_one_loss_others_go_on_meanwhile(store: Store) -> None:
    store.record(ended("a"))
    lose(store, 1)
    room: list[bool] = []
    lane = lane_to(store, BusyAdapter(lambda: room.append(lane.holds.room.enter(ELSEWHERE, 0))))
    turn(store, lane)

    assert room == [True]


def test_while_another_lane_is_at_work_it_is_not_held_and_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record(ended("a"))
    lose(store, 2)
    crm = MemoryAdapter()
    lane = lane_to(store, crm)
    room = lane.holds.room
    assert room.enter(ELSEWHERE, 0)
    waiting: list[tuple[str | None, int]] = []

    def in_vain(_lane: object, _seconds: float) -> bool:
        delivery = store.row("deliveries")
        waiting.append((delivery.claim_token, delivery.lost_leases))
        return False

    monkeypatch.setattr(room, "be_alone", in_vain)
    claimed = turn(store, lane)
    monkeypatch.undo()
    room.leave(ELSEWHERE)
    then = turn(store, lane)

    assert (claimed, waiting, then) == ([0], [(None, 2)], [1])
    assert store.row("deliveries").state == "delivered"


def test_who_is_asked_to_leave_gives_back_what_it_has_not_sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.record(ended("a"), ended("b"), ended("c"))
    crm = BusyAdapter()
    lane = lane_to(store, crm, batch=1)
    lane.batches = 3
    asked = iter([False, True])
    monkeypatch.setattr(lane.holds.room, "is_asked_to_leave", lambda _lane: next(asked))
    turn(store, lane)
    rows = store.rows("deliveries")

    assert crm.sent == 1
    assert sorted((row.state, row.attempts, row.claim_token) for row in rows) == [
        ("delivered", 0, None), ("pending", 0, None), ("pending", 0, None)
    ]  # fmt: skip


def test_a_worker_that_is_to_stop_does_not_push_what_it_has_waited_for(store: Store) -> None:
    store.record(ended("a"))
    lose(store, 2)
    crm = MemoryAdapter()
    lane = lane_to(store, crm)
    lane.stop.set()
    claimed = deliver.deliver_once(replace(lane), store.database)
    delivery = store.row("deliveries")

    assert (claimed, crm.records, delivery.state, delivery.claim_token) == (0, {}, "pending", None)
