"""Group commit with a fake write: who waits for whom, and who is harmed by what."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from crm_sync import clock
from crm_sync.closure import Event, EventStatus
from crm_sync.errors import Unavailable
from crm_sync.store.group import MOST_EVENTS, GroupCommit
from crm_sync.store.inbox import Recorded


class Disk:
    """A pretend database: holds each write until it is told to go on, and fails for the keys it is told to."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.committed: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.always: Exception | None = None
        self.began = threading.Semaphore(0)
        self.may_commit = threading.Event()
        self.may_commit.set()

    def write(self, events: Sequence[Event]) -> list[Recorded]:
        """Store these events, all or none."""
        keys = [event.dedupe_key for event in events]
        self.writes.append(keys)
        self.began.release()
        assert self.may_commit.wait(60)
        for error in filter(None, [self.always, *(self.failing.get(key) for key in keys)]):
            raise error
        self.committed += keys
        return [Recorded(event_id=event.event_id, status=event.status) for event in events]


@pytest.fixture
def disk() -> Disk:
    """A disk that commits at once."""
    return Disk()


@pytest.fixture
def group(disk: Disk) -> Iterator[GroupCommit]:
    """A group commit on the disk, whose callers wait for a minute."""
    made = opened(disk)
    yield made
    disk.may_commit.set()
    made.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    """Threads that call."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def opened(disk: Disk, *, wait_seconds: float = 60, run: Callable[..., list[Recorded]] | None = None) -> GroupCommit:
    """Return a group commit on this disk."""
    return GroupCommit(disk.write, run=run or (lambda work: work()), wait_seconds=wait_seconds)


def event(key: str) -> Event:
    """Return an event with this dedupe key."""
    return Event(
        dedupe_key=key, status=EventStatus.ACCEPTED, kind="wrapup", body=b"{}", source="webhook",
        received_at=clock.now(),
    )  # fmt: skip


def queued(disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor, *keys: str) -> list[Future[list[Recorded]]]:
    """Hold the disk with the write of `first`, and let the callers of these keys queue up behind it, in order."""
    disk.may_commit.clear()
    first = callers.submit(group.record, [event("first")])
    assert disk.began.acquire(timeout=60)
    waiting = [first]
    for key in keys:
        waiting.append(callers.submit(group.record, [event(key)]))
        while len(group._queue) < len(waiting) - 1:
            threading.Event().wait(0.001)
    return waiting


def test_a_caller_returns_only_after_the_commit_that_holds_its_event(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    first, second = queued(disk, group, callers, "second")
    before = (first.done(), second.done(), list(disk.committed))
    disk.may_commit.set()

    assert before == (False, False, [])
    assert [first.result(60)[0].event_id, second.result(60)[0].event_id] == [
        event("first").event_id,
        event("second").event_id,
    ]
    assert disk.committed == ["first", "second"]


def test_those_who_wait_share_one_transaction(disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor) -> None:
    waiting = queued(disk, group, callers, "a", "b", "c")
    disk.may_commit.set()
    for future in waiting:
        future.result(60)

    assert disk.writes == [["first"], ["a", "b", "c"]]


def test_a_group_is_bounded_but_one_large_request_is_never_split(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    waiting = queued(disk, group, callers, "small")
    large = callers.submit(group.record, [event(f"large-{number}") for number in range(MOST_EVENTS + 1)])
    while len(group._queue) < 2:
        threading.Event().wait(0.001)
    disk.may_commit.set()
    for future in waiting:
        future.result(60)

    assert len(large.result(60)) == MOST_EVENTS + 1
    assert [len(write) for write in disk.writes] == [1, 1, MOST_EVENTS + 1]


def test_each_caller_gets_the_answers_to_its_own_events_in_their_order(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    disk.may_commit.clear()
    calls = {
        caller: callers.submit(group.record, [event(f"{caller}.{number}") for number in range(caller)])
        for caller in range(1, 12)
    }
    disk.may_commit.set()

    for caller, future in calls.items():
        wanted = [event(f"{caller}.{number}").event_id for number in range(caller)]
        assert [recorded.event_id for recorded in future.result(60)] == wanted


def test_one_bad_event_harms_only_itself(disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor) -> None:
    disk.failing["bad"] = ValueError("a defect")
    _, good, bad, other = queued(disk, group, callers, "good", "bad", "other")
    disk.may_commit.set()

    assert good.result(60)[0].event_id == event("good").event_id
    assert other.result(60)[0].event_id == event("other").event_id
    with pytest.raises(ValueError, match="a defect"):
        bad.result(60)
    assert disk.committed == ["first", "good", "other"]


def test_a_database_that_is_away_twice_in_a_row_refuses_all_who_wait(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    waiting = queued(disk, group, callers, "a", "b", "c", "d")
    disk.always = Unavailable("away")
    disk.may_commit.set()

    for future in waiting:
        with pytest.raises(Unavailable, match="away"):
            future.result(60)
    assert disk.writes == [["first"], ["a", "b", "c", "d"], ["a"], ["b"]]


def test_two_unavailable_ones_that_are_not_in_a_row_refuse_nobody_else(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    disk.failing = {"a": Unavailable("slow"), "c": Unavailable("slow")}
    _, a, b, c, d = queued(disk, group, callers, "a", "b", "c", "d")
    disk.may_commit.set()

    assert [future.exception(60) is None for future in (a, b, c, d)] == [False, True, False, True]


def test_it_serves_on_after_the_database_was_away(disk: Disk, group: GroupCommit) -> None:
    disk.always = Unavailable("away")
    with pytest.raises(Unavailable):
        group.record([event("refused")])
    disk.always = None

    assert group.record([event("later")])[0].status is EventStatus.ACCEPTED


def test_a_caller_that_has_waited_too_long_is_told_unavailable_and_is_not_written_later(
    disk: Disk, callers: ThreadPoolExecutor
) -> None:
    patient, hasty = opened(disk), opened(disk, wait_seconds=0.05)
    disk.may_commit.clear()
    try:
        with pytest.raises(Unavailable, match="in time"):
            hasty.record([event("writing")])
        with pytest.raises(Unavailable, match="in time"):
            hasty.record([event("queued")])
        disk.may_commit.set()
        patient.record([event("other")])
    finally:
        disk.may_commit.set()
        hasty.close()
        patient.close()

    assert "queued" not in disk.committed


def test_closing_lets_those_who_wait_be_answered_and_refuses_those_who_come(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    waiting = queued(disk, group, callers, "a", "b")
    closing = callers.submit(group.close)
    while not group._closed:
        threading.Event().wait(0.001)
    with pytest.raises(Unavailable, match="stopping"):
        group.record([event("late")])
    disk.may_commit.set()
    closing.result(60)

    assert [future.result(60)[0].status for future in waiting] == [EventStatus.ACCEPTED] * 3
    assert disk.committed == ["first", "a", "b"]


def test_closing_before_the_first_request_is_harmless(disk: Disk) -> None:
    opened(disk).close()

    assert disk.writes == []


def test_work_is_done_where_the_process_wants_it(disk: Disk) -> None:
    ran_by: list[str] = []

    def elsewhere(work: Callable[[], list[Recorded]]) -> list[Recorded]:
        ran_by.append("pool")
        return work()

    group = opened(disk, run=elsewhere)
    group.record([event("a")])
    group.close()

    assert ran_by == ["pool"]


def test_many_threads_lose_nothing_and_double_nothing(
    disk: Disk, group: GroupCommit, callers: ThreadPoolExecutor
) -> None:
    keys = [f"{number}" for number in range(500)]
    answers = list(callers.map(lambda key: group.record([event(key)]), keys))

    assert [answer[0].event_id for answer in answers] == [event(key).event_id for key in keys]
    assert sorted(disk.committed) == sorted(keys)
