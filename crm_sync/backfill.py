"""Owe the past to a target: the closures that ended before it was there, or while it was retired."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from crm_sync.store import repairs
from crm_sync.store.engine import Database
from crm_sync.store.repairs import Past, Window

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """How many closures are owed that were not, and whether those are all."""

    count: int
    is_complete: bool


def count(database: Database, name: str, ended: Window) -> Past:
    """Return what a backfill would come to; raises NotFound and, for a target that is retired, Conflict."""
    with database.read() as connection:
        repairs.be_patient(connection)
        return repairs.past(connection, repairs.require_served(repairs.target(connection, name)), ended)


def run(database: Database, name: str, ended: Window, *, progress: Callable[[int], None], stop: Event) -> Backfilled:
    """Owe a target the closures that it chooses among those that ended within, page by page, until `stop` is set.

    `progress` is told after each page how many are owed by now. Begun again, after a stop or a crash, it does the rest:
    what is owed already stays as it is. Events may come in meanwhile; whatever they close or change, is owed once.
    """
    with database.write() as connection:
        repairs.await_intake(connection)  # The last who may close a conversation without owing it to this target.
        to = repairs.target(connection, name)
    done, after = 0, ""
    while not stop.is_set():
        with database.read() as connection:
            repairs.be_patient(connection)
            after, chosen = repairs.page_of_past(connection, to, ended, after=after, limit=PAGE)
        if not after:
            return Backfilled(count=done, is_complete=True)
        if chosen:
            with database.write() as connection:
                done += repairs.owe_past(connection, name, chosen)
        progress(done)
    return Backfilled(count=done, is_complete=False)
