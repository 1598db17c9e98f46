"""When a target may be pushed to, as arithmetic: its breaker and its rate. The present instant is passed in.

Both live in the target's row, which a claim locks: so all workers on all hosts share them, by the database's clock.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

FAILURES_TO_OPEN = 5
FIRST_REST = timedelta(seconds=30)
LONGEST_REST = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Closed without `open_until`, open until then, and half open afterwards: one push may try.

    `failures` counts the calls that failed in a row while it was closed, `trips` how often it has opened since a call
    was last answered.
    """

    failures: int = 0
    trips: int = 0
    open_until: datetime | None = None

    @property
    def rest(self) -> timedelta:
        """How long it stays open after the last trip: 30 s, then twice as long each time, at most 10 min."""
        return min(FIRST_REST * 2 ** min(self.trips - 1, 10), LONGEST_REST) if self.trips else timedelta()

    def is_closed(self) -> bool:
        """Tell whether pushes go on as usual."""
        return self.open_until is None

    def probing(self, until: datetime) -> "Breaker":
        """Return the breaker while one push tries: nobody else does, until that one must have settled."""
        return replace(self, open_until=until)

    def failed(self, now: datetime, *, was_probe: bool) -> "Breaker":
        """Return the breaker after a call that the CRM did not answer well.

        It opens after five in a row, and again after each failed probe. What else fails while it is open had begun
        before, and tells nothing new.
        """
        if not self.is_closed() and not was_probe:
            return self
        failures = self.failures + 1
        if self.is_closed() and failures < FAILURES_TO_OPEN:
            return replace(self, failures=failures)
        opened = replace(self, failures=failures, trips=self.trips + 1)
        return replace(opened, open_until=now + opened.rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many records may go in a second, and how many at once: the generic cell rate algorithm (GCRA).

    `tat`, the theoretical arrival time, is the instant at which everything that was taken would have been used up at
    the steady rate. It lies at most `burst` intervals ahead.
    """

    per_second: float
    burst: int

    @property
    def interval(self) -> timedelta:
        """The time that one record takes at the steady rate, in whole microseconds and never less."""
        return timedelta(microseconds=ceil(1_000_000 / self.per_second))

    def permits(self, tat: datetime | None, now: datetime) -> int:
        """Return how many records may go now."""
        ahead = max(tat - now, timedelta()) if tat else timedelta()
        return max(0, (self.burst * self.interval - ahead) // self.interval)

    def taken(self, tat: datetime | None, now: datetime, count: int) -> datetime:
        """Return the `tat` after so many records."""
        return (max(tat, now) if tat else now) + count * self.interval

    def given_back(self, tat: datetime | None, now: datetime, count: int, *, age: timedelta) -> datetime:
        """Return the `tat` after permits of this age were given back unused: as far as they have not come back by now.

        A bucket that has been full meanwhile would else be filled twice over. A clock that has gone back hides that:
        then these permits, and no more, may go once too often.
        """
        return (tat or now) - max(count * self.interval - max(age, timedelta()), timedelta())

    def wait(self, tat: datetime | None, now: datetime, count: int) -> timedelta:
        """Return how long it is until so many records may go; more than the burst never may."""
        ahead = max(tat - now, timedelta()) if tat else timedelta()
        return max(ahead - (self.burst - min(count, self.burst)) * self.interval, timedelta())
