"""The standing manner of the pretend CRM: how slow it is, and how many pushes a second it takes."""

import math
import threading
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from crm_sync import clock
from crm_sync.sandbox.faults import Order


class CRMManner(Order):
    """How every authentic push is met: let in at a rate (None: without limit), then answered after a latency."""

    latency_seconds: Annotated[float, Field(ge=0)] = 0.0
    rate: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[int, Field(ge=1)] = 1


class Gate:
    """Lets in `burst` pushes at once and then `rate` a second, as the manner of the moment says."""

    def __init__(self, manner: CRMManner, *, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._manner = manner
        self._permits = float(manner.burst)
        self._counted_at = monotonic()

    @property
    def manner(self) -> CRMManner:
        return self._manner

    def behave(self, manner: CRMManner) -> None:
        """Behave so from now on, with a whole burst in hand."""
        with self._lock:
            self._manner = manner
            self._permits = float(manner.burst)
            self._counted_at = self._monotonic()

    def let_in(self) -> int | None:
        """Return None where this push may come in, else in how many whole seconds one may."""
        with self._lock:
            if self._manner.rate is None:
                return None
            now = self._monotonic()
            earned = (now - self._counted_at) * self._manner.rate
            self._permits = min(self._manner.burst, self._permits + earned)
            self._counted_at = now
            if self._permits >= 1:
                self._permits -= 1
                return None
            return math.ceil((1 - self._permits) / self._manner.rate)
