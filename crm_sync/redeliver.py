"""Push deliveries once more: the dead ones after their cause has been mended, or what a CRM has lost."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Event

from crm_sync.store import repairs
from crm_sync.store.engine import Database
from crm_sync.store.repairs import Count, Wanted

PAGE = 500
HANDFUL = 20
"""So many go at once; more wait in the background, until nothing newer is due to their target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivered:
    """How many deliveries are due again, and whether those are all."""

    count: int
    is_complete: bool


def now(database: Database) -> datetime:
    """Return the present as the `as_of` of a redelivery."""
    with database.read() as connection:
        return repairs.now(connection)


def count(database: Database, wanted: Wanted) -> list[Count]:
    """Return how many deliveries are wanted, by target and state; raises NotFound for what nobody knows."""
    with database.read() as connection:
        repairs.be_patient(connection)
        return repairs.count(connection, wanted)


def run(
    database: Database, wanted: Wanted, *, in_background: bool, progress: Callable[[int], None], stop: Event
) -> Redelivered:
    """Let the wanted deliveries be due, page by page, until all are or `stop` is set.

    `progress` is told after each page how many are due by now. Begun again with the same `as_of`, after a stop or a
    crash, it redelivers none twice: what has been redelivered has changed after `as_of`, and so has what was pushed
    since. That holds for `delivered` as well, although a redelivered one is delivered again in the end: later.
    """
    done, after = 0, (0, "")
    while not stop.is_set():
        with database.read() as connection:
            repairs.be_patient(connection)
            page = repairs.page(connection, wanted, after=after, limit=PAGE)
        if not page:
            return Redelivered(count=done, is_complete=True)
        with database.write() as connection:
            ids = [row.id for row in page]
            done += repairs.redeliver(connection, wanted, ids, in_background=in_background)
        after = (page[-1].target_id, page[-1].conversation_id)
        progress(done)
    return Redelivered(count=done, is_complete=False)
