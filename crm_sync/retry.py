"""When to try again, as arithmetic: the present instant and the dice are passed in, and nothing here waits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from crm_sync.errors import Fault, Kind

SCHEDULE: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""The longest wait after each failed attempt: 3.2 days in all."""

SHORTEST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(hours=1)
DEFAULT_PAUSE = timedelta(seconds=10)
"""For a CRM that says that it is busy, and not for how long."""


def next_attempt(attempts: int, *, now: datetime, random: float) -> datetime | None:
    """Return when to try again after so many failed attempts; None when the schedule is used up.

    `random` lies in [0, 1): the wait is that share of the step. Full jitter, so that a thousand records which failed
    together do not come back together. An attempt that was given back leaves 0, which waits like 1.
    """
    step = max(attempts, 1) - 1
    return None if step >= len(SCHEDULE) else now + SCHEDULE[step] * random


def clamp_retry_after(at: datetime, now: datetime) -> datetime:
    """Return the instant another system asked us to wait for, but between a second and an hour from now."""
    return min(max(at, now + SHORTEST_PAUSE), now + LONGEST_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a fault means for the debt and for its target.

    `due_at` is None when the delivery is dead. `gives_back`: the attempt does not count. `pauses`: nobody pushes to the
    target until a person resumes it. `holds_until`: nobody pushes to it before then.
    """

    due_at: datetime | None
    gives_back: bool = False
    pauses: bool = False
    holds_until: datetime | None = None


def judge(fault: Fault, *, attempts: int, now: datetime, random: float) -> Verdict:
    """Return what to do after a push of one delivery failed with this fault, at its so manieth attempt."""
    match fault.kind:
        case Kind.DATA | Kind.GONE:
            return Verdict(due_at=None)
        case Kind.AUTH | Kind.CONFIG:
            # The data is fine and waits. One paused target is a better alarm than fifty thousand dead letters.
            return Verdict(due_at=now, gives_back=True, pauses=True)
        case Kind.RATE_LIMITED | Kind.QUOTA:
            until = clamp_retry_after(fault.retry_at or now + DEFAULT_PAUSE, now)
            # The target waits, not the delivery: who resumes it wants everything pushed at once.
            return Verdict(due_at=now, gives_back=True, holds_until=until)
    return Verdict(due_at=next_attempt(attempts, now=now, random=random))
