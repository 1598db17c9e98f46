"""A breaker for one process's calls to Genesys Cloud: after failures in a row it refuses calls, then lets one try."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from crm_sync import clock
from crm_sync.errors import Fault, Kind, failure

FAILURES = 5
FIRST_PAUSE_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 300.0

OPEN = "breaker_open"
"""The code of the fault that a refused call gets."""

log = structlog.get_logger(__name__)


class Breaker:
    """Closed until `FAILURES` calls in a row have failed, then open for a pause that doubles with each failed trial."""

    def __init__(
        self, *, monotonic: Callable[[], float] = clock.monotonic, now: Callable[[], datetime] = clock.now
    ) -> None:
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._open_until = 0.0
        self._on_trial = False

    def check(self) -> None:
        """Raise AdapterFailure while the breaker is open; at the end of a pause only the first caller passes."""
        with self._lock:
            if self._failures < FAILURES:
                return
            left = self._open_until - self._monotonic()
            if left <= 0:
                # Others wait for the outcome of this trial, but not for ever: whoever makes it may not come back.
                self._on_trial, self._open_until = True, self._monotonic() + self._pause
                return
        message = f"Genesys Cloud failed {FAILURES} times in a row, so it is left alone for another {left:.0f} s."
        retry_at = self._now() + timedelta(seconds=left)
        raise failure(Fault(kind=Kind.RETRYABLE, code=OPEN, message=message, retry_at=retry_at))

    def succeeded(self) -> None:
        """Note that Genesys Cloud works: it did what was asked, or refused it in good order."""
        with self._lock:
            if self._failures >= FAILURES:
                log.info("genesys_breaker_closed")
            self._failures, self._pause, self._on_trial = 0, FIRST_PAUSE_SECONDS, False

    def failed(self) -> None:
        """Note that a call failed through no fault of its own."""
        with self._lock:
            if self._failures >= FAILURES and not self._on_trial:
                return  # It was on its way when the breaker opened.
            if self._on_trial:
                self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            self._failures += 1
            self._on_trial = False
            if self._failures >= FAILURES:
                self._open_until = self._monotonic() + self._pause
                log.warning("genesys_breaker_opened", pause_seconds=self._pause)
