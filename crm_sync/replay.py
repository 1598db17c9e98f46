"""Parse kept events again, through the same door: after an update that reads more, or once a cause has been mended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, func, select, update

from crm_sync import clock
from crm_sync.closure import Event, EventStatus
from crm_sync.errors import CrmSyncError
from crm_sync.genesys import events
from crm_sync.services import Services
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox
from crm_sync.store.tables import EventRow

log = structlog.get_logger(__name__)

PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which kept events to replay: those with these ids, or all of one status."""

    event_ids: tuple[str, ...] = ()
    status: str = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay came to: how many events it read, how many of them are merged now, how many still cannot be."""

    read: int
    accepted: int
    quarantined: int


def count(database: Database, selection: Selection) -> int:
    """Return how many events a replay would read."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(EventRow).where(_where(selection))) or 0


def run(services: Services, selection: Selection, progress: Callable[[int], None]) -> Replayed:
    """Replay page by page, each in a transaction of its own, so that it may be stopped and begun again at any time.

    `progress` is told after each page how many events have been read. What was merged before changes nothing.
    """
    inbox = Inbox(services.database, services.settings.resolution.as_map())
    read = accepted = quarantined = 0
    for page in _pages(services.database, selection):
        for row in page:
            if _replay(services, inbox, row):
                accepted += 1
            else:
                quarantined += 1
        read += len(page)
        progress(read)
    return Replayed(read=read, accepted=accepted, quarantined=quarantined)


def _where(selection: Selection) -> ColumnElement[bool]:
    if selection.event_ids:
        return EventRow.event_id.in_(selection.event_ids)
    return EventRow.status == selection.status


def _pages(database: Database, selection: Selection) -> Iterator[list[EventRow]]:
    after = ""
    while True:
        chosen = select(EventRow).where(_where(selection), EventRow.event_id > after)
        with database.read() as connection:
            page = connection.execute(chosen.order_by(EventRow.event_id).limit(PAGE)).all()
        if not page:
            return
        after = page[-1].event_id
        yield list(page)  # type: ignore[arg-type]  # rows with the columns of EventRow


def _replay(services: Services, inbox: Inbox, row: EventRow) -> bool:
    """Merge what an event says by now, and tell whether all of it was understood and could be stored."""
    found = _parse(services, row)
    try:
        inbox.record([event for event in found if event.status is EventStatus.ACCEPTED], again=True)
    except CrmSyncError:
        raise
    except Exception:  # A defect of ours, as in `receive.record`: the events behind this one must not wait for it.
        log.exception("event_could_not_be_stored", event_id=row.event_id)
        return False
    if any(event.status is EventStatus.QUARANTINED for event in found):
        return False
    if row.status == "quarantined":
        _mark(services.database, row, found)
    return True


def _parse(services: Services, row: EventRow) -> list[Event]:
    # As at its first receipt: an event that lay in the future then is judged by the present now.
    context = events.Context(
        source="replay", received_at=clock.now(), organization_id=services.settings.genesys.organization_id
    )
    return events.parse(bytes(row.body), context)[0]


def _mark(database: Database, row: EventRow, found: list[Event]) -> None:
    """Say what became of an event: it is understood under its own id, or under those of the events found in it."""
    itself = next((event for event in found if event.event_id == row.event_id), None)
    status = EventStatus.IGNORED if itself is None else itself.status
    names = ", ".join(event.event_id for event in found)
    reason = f"understood by a replay, as {names}"[:1000] if itself is None else itself.reason
    with database.write() as connection:
        connection.execute(
            update(EventRow).where(EventRow.event_id == row.event_id).values(status=str(status), reason=reason)
        )
