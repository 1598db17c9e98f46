"""Which conversations have ended and are known by their events alone, so that analytics may be asked for the rest."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, literal_column, or_, select, text

from crm_sync.store import bulk
from crm_sync.store.tables import ClosureRow, EnrichmentRow, EventRow, UTCDateTime

MOST_TRIES = 3
LONGEST_PAST_SECONDS = 86_400.0
"""What ended longer ago is left to the reconciliation."""

AGAIN_SECONDS = 600.0

_CLOSURES = ClosureRow.metadata.tables["closures"]
_ENRICHMENTS = EnrichmentRow.metadata.tables["enrichments"]
_EVENTS = EventRow.metadata.tables["events"]


def waiting(connection: Connection, *, wait_seconds: float, limit: int) -> list[str]:
    """Return conversations that ended so long ago and of which no record has come in, the oldest end first."""
    c, e = _CLOSURES.c, _ENRICHMENTS.c

    def ago(seconds: float) -> ColumnElement[datetime]:
        return literal_column(bulk.later_sql(connection, -seconds), UTCDateTime())

    record = select(_EVENTS.c.event_id).where(
        _EVENTS.c.conversation_id == c.conversation_id, _EVENTS.c.kind == "record"
    )
    query = (
        select(c.conversation_id)
        .join(_ENRICHMENTS, e.conversation_id == c.conversation_id, isouter=True)
        .where(
            c.closed,
            c.ended_at <= ago(wait_seconds),
            c.ended_at > ago(LONGEST_PAST_SECONDS),
            or_(e.tries.is_(None), and_(e.tries < MOST_TRIES, e.asked_at <= ago(AGAIN_SECONDS))),
            ~record.exists(),
        )
        .order_by(c.ended_at)
        .limit(limit)
    )
    return list(connection.scalars(query))


def note_unknown(connection: Connection, conversation_ids: Sequence[str]) -> None:
    """Remember that analytics was asked for these and did not know them."""
    for conversation_id in sorted(conversation_ids):
        connection.execute(
            text(
                "INSERT INTO enrichments (conversation_id, tries, asked_at)"
                f" VALUES (:id, 1, {bulk.now_sql(connection)}) ON CONFLICT (conversation_id)"
                " DO UPDATE SET tries = enrichments.tries + 1, asked_at = excluded.asked_at"
            ),
            {"id": conversation_id},
        )


def forget_old(connection: Connection) -> None:
    """Forget whom nobody will ask for again."""
    old = bulk.later_sql(connection, -2 * LONGEST_PAST_SECONDS)
    connection.execute(text(f"DELETE FROM enrichments WHERE asked_at < {old}"))
