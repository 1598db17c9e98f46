"""Keeps one process below what Genesys Cloud allows an OAuth client in a minute, so that a 429 is the exception."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crm_sync import clock
from crm_sync.genesys.auth import Tokens

_AT_ONCE = 10
"""The part of a minute's calls, one in so many, that may go at once; the rest is spread evenly."""


class Limiter:
    """Permits for one OAuth client by the generic cell rate algorithm, for any number of threads or greenlets.

    In no minute are there more than `per_minute`: a tenth of them at once, and what the steady rate adds.
    """

    def __init__(self, per_minute: int, *, monotonic: Callable[[], float] = clock.monotonic) -> None:
        burst = max(1, per_minute // _AT_ONCE)
        self._interval = 60.0 / max(1, per_minute - burst)
        self._ahead = (burst - 1) * self._interval
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._used_up_until = 0.0
        self._rests_until = 0.0

    def wait(self) -> float:
        """Return for how many seconds there is no permit."""
        with self._lock:
            return self._wait(self._monotonic())

    def take(self, patience: float) -> float:
        """Take a permit and return in how many seconds it holds; take none where that is longer than the patience."""
        with self._lock:
            now = self._monotonic()
            wait = self._wait(now)
            if wait <= patience:
                self._used_up_until = max(self._used_up_until, now) + self._interval
            return wait

    def rest(self, seconds: float) -> None:
        """Give no permit for so many seconds, as a `Retry-After` asks."""
        with self._lock:
            self._rests_until = max(self._rests_until, self._monotonic() + seconds)

    def _wait(self, now: float) -> float:
        return max(0.0, self._used_up_until - self._ahead - now, self._rests_until - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """One OAuth client: its token, and its permits."""

    tokens: Tokens
    limiter: Limiter


class OAuthClients:
    """The OAuth clients that share the calls. Each has a limit of its own; minting tokens of one does not raise it."""

    def __init__(self, clients: Sequence[OAuthClient]) -> None:
        self._clients = list(clients)
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Return for how many seconds none of them has a permit."""
        return min(client.limiter.wait() for client in self._clients)

    def take(self, patience: float) -> tuple[OAuthClient, float]:
        """Return the client whose turn it is and in how many seconds its permit holds, as `Limiter.take` does."""
        with self._lock:
            chosen = min(self._clients, key=lambda client: client.limiter.wait())
            # To the end of the row: of those that need not wait the one that has rested longest is the next.
            self._clients.remove(chosen)
            self._clients.append(chosen)
            return chosen, chosen.limiter.take(patience)

    def close(self) -> None:
        """Close the idle connections; harmless when repeated."""
        for client in list(self._clients):
            client.tokens.close()
