"""Derive closures anew from the facts that are kept: for a resolution map that has changed, or a name that is new.

What changes is pushed again, with a higher version. What does not is left alone.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection, func, select

from crm_sync.store import labels
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox
from crm_sync.store.repairs import Window, be_patient
from crm_sync.store.tables import ClosureRow

PAGE = 200

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Applied:
    """How many closures were read, and how many changed; `turned` counts [resolution before, resolution after]."""

    read: int = 0
    changed: int = 0
    turned: Counter[tuple[str, str]] = field(default_factory=Counter)
    after: str = ""
    is_complete: bool = False


def count(database: Database, ended: Window) -> int:
    """Return how many closures lie in the window."""
    with database.read() as connection:
        be_patient(connection)
        query = select(func.count()).select_from(ClosureRow).where(*ended.holds(ClosureRow.ended_at))
        return connection.scalar(query) or 0


def run(
    database: Database,
    inbox: Inbox,
    ended: Window,
    *,
    after: str = "",
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda read: None,
    stop: threading.Event | None = None,
) -> Applied:
    """Derive the closures of a window anew, page by page, until all are or `stop` is set; a dry run undoes it."""
    done = Applied(after=after)
    while not done.is_complete and not (stop is not None and stop.is_set()):
        with database.read() as connection:
            page = _page(connection, ended, done.after)
        if not page:
            done.is_complete = True
            break
        _apply(database, inbox, page, done, dry_run=dry_run)
        done.read += len(page)
        done.after = page[-1]
        progress(done.read)
    return done


def with_codes(database: Database, inbox: Inbox, codes: Iterable[str]) -> int:
    """Derive those closures anew that have one of these wrap-up codes, and return how many changed."""
    with database.read() as connection:
        conversations = labels.with_code(connection, codes)
    done = Applied()
    for first in range(0, len(conversations), PAGE):
        _apply(database, inbox, conversations[first : first + PAGE], done, dry_run=False)
    return done.changed


def _apply(database: Database, inbox: Inbox, page: list[str], done: Applied, *, dry_run: bool) -> None:
    with database.write() as connection:
        attempt = connection.begin_nested()
        before = _resolutions(connection, page)
        done.changed += len(inbox.derive_again(connection, page))
        after = _resolutions(connection, page)
        if dry_run:
            attempt.rollback()
    done.turned.update((before[each], after[each]) for each in page if before[each] != after[each])


def _page(connection: Connection, ended: Window, after: str) -> list[str]:
    c = ClosureRow
    query = select(c.conversation_id).where(c.conversation_id > after, *ended.holds(c.ended_at))
    return list(connection.scalars(query.order_by(c.conversation_id).limit(PAGE)))


def _resolutions(connection: Connection, page: list[str]) -> dict[str, str]:
    c = ClosureRow
    found = connection.execute(select(c.conversation_id, c.resolution).where(c.conversation_id.in_(page)))
    return {conversation_id: resolution for conversation_id, resolution in found}
