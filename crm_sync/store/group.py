"""Group commit: the requests that are in flight in one process share a transaction.

A durable commit costs a wait for the disk. One for each request gave a quarter of the throughput that one for all
who wait gives; see docs/decisions. Each caller still returns only after the commit that holds its own events.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from crm_sync import clock
from crm_sync.closure import Event
from crm_sync.errors import Unavailable
from crm_sync.metrics import GROUP_SIZE, INTAKE_SECONDS
from crm_sync.store.inbox import Recorded

log = structlog.get_logger(__name__)

MOST_EVENTS = 200
"""Events in one transaction, but for a single request that brings more."""


@dataclass(slots=True, kw_only=True)
class _Waiting:
    events: Sequence[Event]
    done: threading.Event = field(default_factory=threading.Event)
    answers: list[Recorded] | None = None
    error: Exception | None = None
    given_up: bool = False


class GroupCommit:
    """Records events for many callers at once. Threads become greenlets where gevent has patched the process.

    `write` stores events in one transaction; `run` is where such work may run without stalling others.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Event]], list[Recorded]],
        *,
        run: Callable[[Callable[[], list[Recorded]]], list[Recorded]],
        wait_seconds: float,
    ) -> None:
        self._write = write
        self._run = run
        self._wait_seconds = wait_seconds
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._committer: threading.Thread | None = None
        self._closed = False

    def record(self, events: Sequence[Event]) -> list[Recorded]:
        """Return what became of these events, after the commit that holds them all.

        Raises `Unavailable` when the database cannot commit, or not in time; the events may then be sent again.
        """
        waiting = _Waiting(events=events)
        with self._changed:
            if self._closed:
                raise Unavailable("The service is stopping.")
            self._queue.append(waiting)
            if self._committer is None:
                # Made at the first request, hence after a fork, when the threads of the parent are gone.
                self._committer = threading.Thread(target=self._commit_forever, name="group-commit", daemon=True)
                self._committer.start()
            self._changed.notify()
        if not waiting.done.wait(self._wait_seconds):
            waiting.given_up = True
            raise Unavailable("The database did not commit in time.")
        if waiting.error is not None:
            raise waiting.error
        return waiting.answers or []

    def close(self) -> None:
        """Let the requests that wait be answered, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._committer is not None:
            self._committer.join(self._wait_seconds)

    def _commit_forever(self) -> None:
        while (group := self._next_group()) is not None:
            started = clock.monotonic()
            GROUP_SIZE.observe(sum(len(waiting.events) for waiting in group))
            self._commit(group)
            INTAKE_SECONDS.observe(clock.monotonic() - started)

    def _next_group(self) -> list[_Waiting] | None:
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            group: list[_Waiting] = []
            size = 0
            while self._queue and (not group or size + len(self._queue[0].events) <= MOST_EVENTS):
                waiting = self._queue.popleft()
                if not waiting.given_up:
                    group.append(waiting)
                    size += len(waiting.events)
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        events = [event for waiting in group for event in waiting.events]
        try:
            answers = self._run(lambda: self._write(events))
        except Exception as error:  # Whatever it was, it must not reach the others of the group.
            if len(group) == 1:
                self._refuse(group[0], error)
                return
            log.warning("group_commit_failed", size=len(group), error=type(error).__name__)
            self._commit_one_by_one(group)
            return
        for waiting in group:
            waiting.answers, answers = answers[: len(waiting.events)], answers[len(waiting.events) :]
            waiting.done.set()

    def _commit_one_by_one(self, group: list[_Waiting]) -> None:
        """Let one bad event harm only itself. Two in a row that cannot be stored mean that the database is away."""
        away: Exception | None = None
        failures = 0
        for waiting in group:
            if away is not None:
                self._refuse(waiting, away)
            elif not waiting.given_up:
                self._commit([waiting])
                failures = failures + 1 if isinstance(waiting.error, Unavailable) else 0
                away = waiting.error if failures == 2 else None

    def _refuse(self, waiting: _Waiting, error: Exception) -> None:
        waiting.error = error
        waiting.done.set()
