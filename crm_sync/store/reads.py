"""What readers ask for: pages of closures, and one closure with its events and deliveries. Nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, literal, select, text, tuple_, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import ColumnElement

from crm_sync import clock
from crm_sync.closure import FIELDS, JSON, Closure
from crm_sync.resolution import Status
from crm_sync.store import bulk
from crm_sync.store.outbox import as_closure
from crm_sync.store.tables import ClosureRow, DeliveryRow, EventRow, TargetRow

FEED_LAG_SECONDS = 30.0
"""How long before now the feed of changes ends. No intake commits later than half of that after it set `updated_at`,
so what a reader has passed is complete."""

MOST_EVENTS = 500
"""Events of one conversation that are shown; a messaging conversation can go on for years."""

_CLOSURES = ClosureRow.metadata.tables["closures"]
_EVENTS = EventRow.metadata.tables["events"]
_DELIVERIES = DeliveryRow.metadata.tables["deliveries"]
_TARGETS = TargetRow.metadata.tables["targets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which closures are wanted; None leaves a thing open. `ended_from` is within the range, `ended_to` is not."""

    resolution: Status | None = None
    closed: bool | None = None
    media_type: str | None = None
    queue_id: str | None = None
    ended_from: datetime | None = None
    ended_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place between two closures of a list: `at` is the instant that the list is sorted by."""

    at: datetime | None
    conversation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A closure as the database holds it now."""

    closure: Closure
    version: int
    updated_at: datetime

    def as_record(self) -> dict[str, JSON]:
        """Return the closure's fields with `version` and `updated_at`, as JSON values."""
        return self.closure.as_record() | {"version": self.version, "updated_at": clock.to_text(self.updated_at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """What came in about a conversation, without its body."""

    id: str
    kind: str
    status: str
    occurred_at: datetime | None
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySummary:
    """Where one target stands with a closure. `state` is `paused` while it is owed to a target that is paused."""

    target: str
    state: str
    desired_version: int
    delivered_version: int | None
    attempts: int
    last_error: str | None
    crm_record_id: str | None
    crm_url: str | None
    delivered_at: datetime | None


def newest(connection: Connection, wanted: Filter, *, after: Position | None, limit: int) -> list[Known]:
    """Return closures by their end, the newest first; conversations that have never ended come last."""
    c = _CLOSURES.c
    found: list[Row[Any]] = []
    # Two statements, since the engines disagree about where NULL sorts, and either of them has an index to walk.
    if after is None or after.at is not None:
        ended = _matching(connection, wanted).where(c.ended_at.is_not(None))
        if after is not None:
            ended = ended.where(_key(c.ended_at) < _place(c.ended_at, after))
        ended = ended.order_by(c.ended_at.desc(), c.conversation_id.desc())
        found += connection.execute(ended.limit(limit))
        after = None
    if len(found) < limit:
        never = _matching(connection, wanted).where(c.ended_at.is_(None))
        if after is not None:
            never = never.where(c.conversation_id < after.conversation_id)
        found += connection.execute(never.order_by(c.conversation_id.desc()).limit(limit - len(found)))
    return _as_known(found)


def changed(connection: Connection, wanted: Filter, *, after: Position, limit: int) -> list[Known]:
    """Return closures by their last change, the oldest first, up to 30 s before the database's now.

    A reader who goes on from the last one it got misses none: each change moves a closure to the end of the list,
    and no change is written into the part that has been read.
    """
    c = _CLOSURES.c
    settled = text(f"closures.updated_at < {_horizon_sql(connection)}")
    found = connection.execute(
        _matching(connection, wanted)
        .where(_key(c.updated_at) > _place(c.updated_at, after), settled)
        .order_by(c.updated_at, c.conversation_id)
        .limit(limit)
    )
    return _as_known(found.all())


def closure(connection: Connection, conversation_id: str) -> Known | None:
    """Return what is known of one conversation."""
    found = connection.execute(_columns().where(_CLOSURES.c.conversation_id == conversation_id)).all()
    return next(iter(_as_known(found)), None)


def events(connection: Connection, conversation_id: str) -> list[EventSummary]:
    """Return the newest events of a conversation in the order in which they came, at most `MOST_EVENTS`."""
    e = _EVENTS.c
    found = connection.execute(
        select(e.event_id.label("id"), e.kind, e.status, e.occurred_at, e.received_at)
        .where(e.conversation_id == conversation_id)
        .order_by(e.received_at.desc(), e.event_id.desc())
        .limit(MOST_EVENTS)
    ).all()
    return [EventSummary(**row._mapping) for row in reversed(found)]


def deliveries(connection: Connection, conversation_id: str) -> list[DeliverySummary]:
    """Return what each target is owed of a conversation and has been told, by the target's name."""
    d, t = _DELIVERIES.c, _TARGETS.c
    state = case(((t.state == "paused") & (d.state == "pending"), "paused"), else_=d.state)
    found = connection.execute(
        select(
            t.name.label("target"), state.label("state"), d.desired_version, d.delivered_version, d.attempts,
            d.last_error, d.crm_record_id, d.crm_url, d.delivered_at,
        )
        .join_from(_DELIVERIES, _TARGETS, d.target_id == t.id)
        .where(d.conversation_id == conversation_id)
        .order_by(t.name)
    )  # fmt: skip
    return [DeliverySummary(**row._mapping) for row in found]


def _columns() -> Select[Any]:
    return select(*(_CLOSURES.c[name] for name in (*FIELDS, "version", "updated_at")))


def _matching(connection: Connection, wanted: Filter) -> Select[Any]:
    c = _CLOSURES.c
    found = _columns()
    if wanted.resolution is not None:
        found = found.where(c.resolution == str(wanted.resolution))
    if wanted.closed is not None:
        found = found.where(c.closed == wanted.closed)
    if wanted.media_type is not None:
        found = found.where(c.media_type == wanted.media_type)
    if wanted.queue_id is not None:
        found = found.where(_holds(connection, c.queue_ids, wanted.queue_id))
    if wanted.ended_from is not None:
        found = found.where(c.ended_at >= wanted.ended_from)
    if wanted.ended_to is not None:
        found = found.where(c.ended_at < wanted.ended_to)
    return found


def _holds(connection: Connection, column: ColumnElement[Any], member: str) -> ColumnElement[bool]:
    """Whether a column's JSON list has this member."""
    if connection.dialect.name == "postgresql":
        return type_coerce(column, JSONB).contains([member])
    members = func.json_each(column).table_valued("value")
    return select(members.c.value).where(members.c.value == member).exists()


def _horizon_sql(connection: Connection) -> str:
    """Return SQL for where the feed ends. Never later than the snapshot that is read, however long it takes."""
    if connection.dialect.name == "postgresql":
        return f"now() - make_interval(secs => {FEED_LAG_SECONDS})"
    return bulk.later_sql(connection, -FEED_LAG_SECONDS)


def _key(instant: ColumnElement[Any]) -> Any:
    return tuple_(instant, _CLOSURES.c.conversation_id)


def _place(instant: ColumnElement[Any], position: Position) -> Any:
    conversation_id = _CLOSURES.c.conversation_id
    return tuple_(literal(position.at, instant.type), literal(position.conversation_id, conversation_id.type))


def _as_known(found: Sequence[Row[Any]]) -> list[Known]:
    return [Known(closure=as_closure(row), version=row.version, updated_at=row.updated_at) for row in found]
