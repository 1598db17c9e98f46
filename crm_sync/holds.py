"""The claims in this process's hands: their leases are extended while a push is under way, and not for longer."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import structlog

from crm_sync import clock
from crm_sync.room import Room
from crm_sync.settings import WorkerSettings
from crm_sync.store import outbox
from crm_sync.store.engine import Database
from crm_sync.store.outbox import Claim

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5.0
"""A call that takes so much longer than its deadline is taken for one that never returns."""


class Hold:
    """Claims in the hands of one lane. Instants are those of `clock.monotonic`.

    `ends_at` lies before the end of the lease: it is counted from before the claim, or from before its extension.
    """

    def __init__(self, claims: Sequence[Claim], *, ends_at: float, push_seconds: float) -> None:
        self.claims = claims
        self.ends_at = ends_at
        self.is_lost = False
        self._push_seconds = push_seconds
        self._began_at = self._call_began_at = clock.monotonic()

    @property
    def age(self) -> timedelta:
        """How long ago the claims were made."""
        return timedelta(seconds=clock.monotonic() - self._began_at)

    @property
    def token(self) -> str:
        """The token that all of the claims share."""
        return self.claims[0].token

    def may_call(self) -> bool:
        """Tell whether one more call surely ends while the claims are ours, and if so begin to count its time."""
        self._call_began_at = clock.monotonic()
        return not self.is_lost and self._call_began_at + self._push_seconds <= self.ends_at

    def is_overdue(self) -> bool:
        """Tell whether the call under way should have come back long ago."""
        return clock.monotonic() > self._call_began_at + self._push_seconds + GRACE_SECONDS


class Holds:
    """All that the lanes of a process hold; the heartbeat's thread and theirs share it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.room = Room()
        self._lock = threading.Lock()
        self._held: dict[str, Hold] = {}

    @contextmanager
    def keep(self, hold: Hold) -> Iterator[Hold]:
        """Have the lease of this hold extended until the block ends."""
        with self._lock:
            self._held[hold.token] = hold
        try:
            yield hold
        finally:
            with self._lock:
                self._held.pop(hold.token, None)

    def extend(self, database: Database) -> None:
        """Extend the leases that have lasted for a quarter of their time; those of overdue calls run out.

        A hold that is not ours any more is lost: nothing more is sent under it.
        """
        now = clock.monotonic()
        ends_at = now + self.settings.lease_seconds
        with self._lock:
            held = [hold for hold in self._held.values() if hold.ends_at - now < self.settings.lease_seconds * 0.75]
        held = [hold for hold in held if not hold.is_overdue()]
        if not held:
            return
        claims = [claim for hold in held for claim in hold.claims]
        with database.write() as connection:
            ours = outbox.extend(connection, claims, lease_seconds=self.settings.lease_seconds)
        with self._lock:
            # What has been settled meanwhile is not ours any more either, and is not lost.
            lost = [hold for hold in held if hold.token not in ours and hold.token in self._held]
        for hold in held:
            hold.ends_at = ends_at if hold.token in ours else hold.ends_at
            hold.is_lost = hold in lost
        for hold in lost:
            log.warning("lease_lost", deliveries=[claim.delivery_id for claim in hold.claims])
