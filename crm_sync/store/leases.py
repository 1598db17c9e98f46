"""Work that one process at a time may do, on any host: a row with a holder, and an end by the database's clock."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from crm_sync import clock
from crm_sync.errors import Unavailable
from crm_sync.store import bulk
from crm_sync.store.engine import Database

LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease that we hold, as long as it is extended in time."""

    database: Database
    name: str
    seconds: float
    holder: str = field(default_factory=lambda: secrets.token_hex(16))

    def extend(self) -> bool:
        """Return whether it was still ours, in which case it lasts for its whole time again."""
        return self.database.writing(self.extend_in)

    def extend_in(self, connection: Connection) -> bool:
        """Do the same in a transaction of the caller, whose work then counts only if it is ours."""
        return extend(connection, self.name, holder=self.holder, seconds=self.seconds)


@contextmanager
def held(
    database: Database,
    name: str,
    *,
    seconds: float,
    beats: bool = False,
    wait_seconds: float = 0.0,
    stop: threading.Event | None = None,
) -> Iterator[Lease | None]:
    """Hold a lease for a block, or yield None where another process holds it for longer than `wait_seconds`.

    With `beats` a thread extends it for as long as the block lasts; else its holder does so.
    """
    lease = Lease(database=database, name=name, seconds=seconds)
    if not _taken(lease, wait_seconds, stop or threading.Event()):
        yield None
        return
    try:
        with _beating(lease) if beats else nullcontext():
            yield lease
    finally:
        with suppress(Unavailable):
            database.writing(lambda connection: release(connection, name, holder=lease.holder))


@contextmanager
def _beating(lease: Lease) -> Iterator[None]:
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(lease.seconds / 4):
            with suppress(Unavailable):
                lease.extend()

    heart = threading.Thread(target=beat, name=f"{lease.name}-lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        is_over.set()
        heart.join()


def _taken(lease: Lease, wait_seconds: float, stop: threading.Event) -> bool:
    def take(connection: Connection) -> bool:
        return acquire(connection, lease.name, holder=lease.holder, seconds=lease.seconds)

    give_up_at = clock.monotonic() + wait_seconds
    while not lease.database.writing(take):
        if clock.monotonic() >= give_up_at or stop.wait(LOOK_SECONDS):
            return False
    return True


def acquire(connection: Connection, name: str, *, holder: str, seconds: float) -> bool:
    """Return whether the holder has the lease from now on: nobody else's was in force."""
    taken = connection.execute(
        text(
            "INSERT INTO leases (name, holder, until)"
            f" VALUES (:name, :holder, {bulk.later_sql(connection, seconds)})"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
            f" WHERE leases.holder = excluded.holder OR leases.until <= {bulk.now_sql(connection)}"
            " RETURNING name"
        ),
        {"name": name, "holder": holder},
    )
    return taken.first() is not None


def extend(connection: Connection, name: str, *, holder: str, seconds: float) -> bool:
    """Return whether the holder still had the lease, which then lasts these seconds from now on."""
    extended = connection.execute(
        text(
            f"UPDATE leases SET until = {bulk.later_sql(connection, seconds)}"
            f" WHERE name = :name AND holder = :holder AND until > {bulk.now_sql(connection)}"
            " RETURNING name"
        ),
        {"name": name, "holder": holder},
    )
    return extended.first() is not None


def release(connection: Connection, name: str, *, holder: str) -> None:
    """End the lease if this holder has it; harmless otherwise."""
    connection.execute(
        text("DELETE FROM leases WHERE name = :name AND holder = :holder"), {"name": name, "holder": holder}
    )
