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


def next_wait(attempts: int, *, random: float) -> timedelta | None:
    """Return how long to wait after so many failed attempts; None when the schedule is used up.

    `random` lies in [0, 1): the wait is that share of the step. Full jitter, so that a thousand records which failed
    together do not come back together. An attempt that was given back leaves 0, which waits like 1.
    """
    step = max(attempts, 1) - 1
    return None if step >= len(SCHEDULE) else SCHEDULE[step] * random


def clamp_pause(pause: timedelta) -> timedelta:
    """Return the pause that another system asked for, but between a second and an hour."""
    return min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a fault means for the debt and for its target, in durations: the instants are the database's to say.

    `wait` is None when the delivery is dead. `gives_back`: the attempt does not count. `pauses`: nobody pushes to the
    target until a person resumes it. `rest`: nobody pushes to it for so long.
    """

    wait: timedelta | None
    gives_back: bool = False
    pauses: bool = False
    rest: timedelta | None = None


def judge(fault: Fault, *, attempts: int, now: datetime, random: float) -> Verdict:
    """Return what to do after a push of one delivery failed with this fault, at its so manieth attempt.

    `now` is by the clock that has read the fault's `retry_at`.
    """
    match fault.kind:
        case Kind.DATA | Kind.GONE:
            return Verdict(wait=None)
        case Kind.AUTH | Kind.CONFIG:
            # The data is fine and waits. One paused target is a better alarm than fifty thousand dead letters.
            return Verdict(wait=timedelta(), gives_back=True, pauses=True)
        case Kind.RATE_LIMITED | Kind.QUOTA:
            # The target waits, not the delivery: who resumes it wants everything pushed at once.
            rest = clamp_pause(fault.retry_at - now if fault.retry_at else DEFAULT_PAUSE)
            return Verdict(wait=timedelta(), gives_back=True, rest=rest)
    return Verdict(wait=next_wait(attempts, random=random))
