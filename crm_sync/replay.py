"""Parse kept events again, through the same door: after an update that reads more, or once a cause has been mended."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, Connection, func, select, update

from crm_sync import clock
from crm_sync.closure import Event, EventStatus
from crm_sync.errors import CrmSyncError, NotFound
from crm_sync.genesys import events
from crm_sync.services import Services
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox
from crm_sync.store.repairs import ANY_TIME, Window, be_patient
from crm_sync.store.tables import ClosureRow, EventRow

log = structlog.get_logger(__name__)

PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which kept events to replay: those that fit all that is given, in the order of their ids, behind `after`."""

    event_ids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    conversation_ids: tuple[str, ...] = ()
    received: Window = ANY_TIME
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay came to: how many events it read, how many of them are merged now, how many still cannot be.

    `closures_changed` is told by a dry run alone. `after` is the event that was read last.
    """

    read: int
    accepted: int
    quarantined: int
    closures_changed: int | None
    after: str
    is_complete: bool


def count(database: Database, selection: Selection) -> int:
    """Return how many events a replay would read; raises NotFound for an id that nobody knows."""
    with database.read() as connection:
        be_patient(connection)
        for event_id in selection.event_ids:
            if connection.scalar(select(EventRow.event_id).where(EventRow.event_id == event_id)) is None:
                raise NotFound(f"There is no event {event_id} here: give the id that the webhook answered.")
        return connection.scalar(select(func.count()).select_from(EventRow).where(*_fit(selection))) or 0


def run(
    services: Services,
    selection: Selection,
    *,
    progress: Callable[[int], None],
    stop: threading.Event,
    dry_run: bool = False,
) -> Replayed:
    """Replay event by event, each in a transaction of its own, until all have been or `stop` is set.

    `progress` is told after each page how many events have been read. What was merged before changes nothing, so a
    replay may be begun again at any time. A dry run does everything and undoes it.
    """
    inbox = Inbox(services.database, services.settings.resolution.as_map())
    changed: set[str] | None = set() if dry_run else None
    read, accepted, after, is_complete = 0, 0, selection.after, False
    while not (is_complete or stop.is_set()):
        page = _page(services.database, selection, after)
        accepted += sum(_replay(services, inbox, row, changed) for row in page)
        read += len(page)
        after = page[-1].event_id if page else after
        is_complete = len(page) < PAGE
        progress(read)
    return Replayed(
        read=read,
        accepted=accepted,
        quarantined=read - accepted,
        closures_changed=None if changed is None else len(changed),
        after=after,
        is_complete=is_complete,
    )


def _fit(selection: Selection) -> list[ColumnElement[bool]]:
    given = {
        EventRow.event_id: selection.event_ids,
        EventRow.status: selection.statuses,
        EventRow.kind: selection.kinds,
        EventRow.source: selection.sources,
        EventRow.conversation_id: selection.conversation_ids,
    }
    chosen = [column.in_(values) for column, values in given.items() if values]
    return [*chosen, *selection.received.holds(EventRow.received_at), EventRow.event_id > selection.after]


def _page(database: Database, selection: Selection, after: str) -> Sequence[EventRow]:
    chosen = select(EventRow).where(*_fit(selection), EventRow.event_id > after)
    with database.read() as connection:
        be_patient(connection)
        return connection.execute(chosen.order_by(EventRow.event_id).limit(PAGE)).all()  # type: ignore[return-value]  # rows with the columns of EventRow


def _replay(services: Services, inbox: Inbox, row: EventRow, changed: set[str] | None) -> bool:
    """Merge what an event says by now, and tell whether all of it was understood and could be stored.

    With a set nothing is stored, and what would have changed is added to it.
    """
    found = _parse(services, row)
    accepted = [event for event in found if event.status is EventStatus.ACCEPTED]
    try:
        if changed is None:
            inbox.record(accepted, again=True)
        else:
            changed |= _try(services.database, inbox, accepted)
    except CrmSyncError:
        raise
    except Exception:  # A defect of ours, as in `receive.record`: the events behind this one must not wait for it.
        log.exception("event_could_not_be_stored", event_id=row.event_id)
        return False
    if any(event.status is EventStatus.QUARANTINED for event in found):
        return False
    if changed is None and row.status == "quarantined":
        _mark(services.database, row, found)
    return True


def _parse(services: Services, row: EventRow) -> list[Event]:
    # As at its first receipt: an event that lay in the future then is judged by the present now.
    context = events.Context(
        source="replay", received_at=clock.now(), organization_id=services.settings.genesys.organization_id
    )
    return events.parse(bytes(row.body), context)[0]


def _try(database: Database, inbox: Inbox, found: Sequence[Event]) -> set[str]:
    """Merge events and undo it; return the conversations of which readers would have seen a change."""
    conversations = {event.conversation_id for event in found if event.conversation_id}
    with database.write() as connection:
        attempt = connection.begin_nested()
        before = _versions(connection, conversations)
        inbox.record_in(connection, found, again=True)
        after = _versions(connection, conversations)
        attempt.rollback()
    return {conversation_id for conversation_id, version in after.items() if version != before.get(conversation_id)}


def _versions(connection: Connection, conversations: set[str]) -> dict[str, int]:
    chosen = select(ClosureRow.conversation_id, ClosureRow.version)
    found = connection.execute(chosen.where(ClosureRow.conversation_id.in_(conversations)))
    return {row.conversation_id: row.version for row in found}


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
