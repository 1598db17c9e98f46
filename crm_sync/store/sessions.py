"""The virtual-agent sessions that we were asked to start: remembered before the start, settled after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal_column, select, text, update

from crm_sync.errors import Conflict
from crm_sync.store import bulk
from crm_sync.store.tables import AgentSessionRow, ClosureRow, EventRow

STARTING_SECONDS = 120
"""For how long a session may be `starting`: no start takes longer, so an older one was left by its process."""

FOLLOWED_SECONDS = 3 * 86_400
"""For how long a session is followed that nobody has told the end of."""

_SESSIONS = AgentSessionRow.metadata.tables["agent_sessions"]
_CLOSURES = ClosureRow.metadata.tables["closures"]
_EVENTS = EventRow.metadata.tables["events"]
# Any number will do, as long as nothing else of ours takes it.
_LOCK = text("SELECT pg_advisory_xact_lock(7161921)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session. `reason` says why it was escalated, refused, or not started; `is_fresh` that it may yet start.

    From `bot_session_id` on it is about a bot that leads the session turn by turn. Its `bot_state` is `waiting` for the
    customer, `taking` a turn, `lost` (the answer to a turn was), `people` (needed, not reached yet) or `over`.
    """

    id: str
    idempotency_key: str | None
    state: str
    reason: str | None
    bot_id: str
    customer_id: str
    media_type: str
    intent_name: str | None
    intent_confidence: float | None
    sentiment_score: float | None
    turns: int
    escalated: bool
    queue_id: str | None
    conversation_id: str | None
    requested_at: datetime
    started_at: datetime | None
    is_fresh: bool
    bot_session_id: str | None = None
    bot_state: str | None = None
    turn_id: str | None = None
    turn_at: datetime | None = None
    handover: Mapping[str, Any] | None = field(default=None, repr=False)
    ended_at: datetime | None = None
    end_reason: str | None = None
    resolution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the conversation of a session went: from its closure, and when we were first told of its newest end."""

    closed: bool
    ended_at: datetime | None
    resolution: str
    resolution_final: bool
    told_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The session of a request. If it `is_new`, `ahead` are the bot's others that were about to start before it."""

    session: Session
    is_new: bool
    ahead: tuple[str, ...] = ()


def create(
    connection: Connection,
    session_id: str,
    *,
    idempotency_key: str | None,
    bot_id: str,
    customer_id: str,
    media_type: str,
    turns: int,
    conversation_id: str | None = None,
) -> Created:
    """Remember a session that is about to start, unless one with this key is known: then return that one.

    Raises Conflict when the live conversation that it is for has another session.
    """
    if connection.dialect.name == "postgresql":
        # One after the other, so that of two sessions exactly one is ahead. SQLite's writers wait anyhow.
        connection.execute(_LOCK)
    inserted = connection.execute(
        text(
            "INSERT INTO agent_sessions (id, idempotency_key, state, bot_id, customer_id, media_type, turns, escalated,"
            f" conversation_id, requested_at) VALUES (:id, :key, 'starting', :bot, :customer, :type, :turns, false,"
            f" :conversation, {bulk.now_sql(connection)}) ON CONFLICT DO NOTHING RETURNING id"
        ),
        {"id": session_id, "key": idempotency_key, "bot": bot_id, "customer": customer_id, "type": media_type,
         "turns": turns, "conversation": conversation_id},
    ).first()  # fmt: skip
    if inserted is None:
        known = _SESSIONS.c.idempotency_key == idempotency_key
        first = None if idempotency_key is None else connection.execute(_select(connection).where(known)).first()
        if first is None:
            raise Conflict("This conversation_id has a session already: follow that one, or leave conversation_id out.")
        return Created(session=_session(first), is_new=False)
    found = connection.execute(_select(connection).where(_SESSIONS.c.id == session_id)).one()
    ahead = select(_SESSIONS.c.id).where(
        _SESSIONS.c.bot_id == bot_id,
        _SESSIONS.c.state == "starting",
        _SESSIONS.c.id != session_id,
        _is_fresh(connection),
    )
    return Created(session=_session(found), is_new=True, ahead=tuple(connection.scalars(ahead)))


def led_by(connection: Connection, bot_id: str, *, idle_seconds: int) -> set[str]:
    """Return the bot's sessions that were started, or may have been, and have not ended or been idle for so long."""
    c = _SESSIONS.c
    oldest = literal_column(bulk.later_sql(connection, -idle_seconds), type_=c.requested_at.type)
    return set(
        connection.scalars(
            select(c.id).where(
                c.bot_id == bot_id,
                c.state.in_(("started", "uncertain")),
                c.escalated.is_(False),
                c.ended_at.is_(None),
                func.coalesce(c.turn_at, c.requested_at) > oldest,
            )
        )
    )


def find(connection: Connection, session_id: str) -> Session | None:
    """Return a session, or None for an unknown id."""
    row = connection.execute(_select(connection).where(_SESSIONS.c.id == session_id)).first()
    return None if row is None else _session(row)


def route(
    connection: Connection,
    session_id: str,
    *,
    intent_name: str | None,
    intent_confidence: float | None,
    sentiment_score: float | None,
    queue_id: str | None,
    reason: str | None,
) -> None:
    """Remember, before the start, how the message was evaluated and where the conversation will go."""
    connection.execute(
        update(_SESSIONS)
        .where(_SESSIONS.c.id == session_id)
        .values(
            intent_name=intent_name,
            intent_confidence=intent_confidence,
            sentiment_score=sentiment_score,
            escalated=queue_id is not None,
            queue_id=queue_id,
            reason=reason,
        )
    )


def started(connection: Connection, session_id: str, conversation_id: str | None) -> Session:
    """Settle a session as started, and return it. What was settled for good stays as it is."""
    values = {"state": "started", "conversation_id": conversation_id, "started_at": text(bulk.now_sql(connection))}
    return _settle(connection, session_id, values)


def not_started(connection: Connection, session_id: str, *, state: str, reason: str) -> Session:
    """Settle a session as refused, failed or uncertain, and return it. What was settled for good stays as it is."""
    values = {"state": state, "reason": reason, "bot_state": None, "handover": None}
    # A live conversation may be asked for again once it is known that this session has nothing to do with it.
    return _settle(connection, session_id, values | ({} if state == "uncertain" else {"conversation_id": None}))


def lock(connection: Connection, session_id: str) -> Session | None:
    """Return a session that nobody else changes before this transaction ends, or None for an unknown id."""
    row = connection.execute(_select(connection).where(_SESSIONS.c.id == session_id).with_for_update()).first()
    return None if row is None else _session(row)


def ending(connection: Connection, conversation_id: str) -> Ending | None:
    """Return how a conversation went, or None while nothing is known of it."""
    told_at = (
        select(func.min(_EVENTS.c.received_at))
        .where(
            _EVENTS.c.conversation_id == _CLOSURES.c.conversation_id,
            _EVENTS.c.status == "accepted",
            _EVENTS.c.occurred_at >= _CLOSURES.c.ended_at,
        )
        .scalar_subquery()
    )
    c = _CLOSURES.c
    row = connection.execute(
        select(c.closed, c.ended_at, c.resolution, c.resolution_final, told_at.label("told_at")).where(
            c.conversation_id == conversation_id
        )
    ).first()
    return None if row is None else Ending(**row._mapping)


def open_conversations(connection: Connection, *, limit: int) -> list[str]:
    """Return the conversations of sessions that were started in the last days and are not known to be over."""
    c, s = _CLOSURES.c, _SESSIONS.c
    oldest = literal_column(bulk.later_sql(connection, -FOLLOWED_SECONDS), type_=s.requested_at.type)
    query = (
        select(s.conversation_id)
        .join(_CLOSURES, c.conversation_id == s.conversation_id, isouter=True)
        .where(s.conversation_id.is_not(None), s.requested_at > oldest, c.closed.is_not(True))
        .order_by(s.requested_at.desc())
        .limit(limit)
    )
    return list(connection.scalars(query))


def _settle(connection: Connection, session_id: str, values: Mapping[str, object]) -> Session:
    is_open = _SESSIONS.c.state.in_(("starting", "uncertain"))
    connection.execute(update(_SESSIONS).where(_SESSIONS.c.id == session_id, is_open).values(**values))
    return _session(connection.execute(_select(connection).where(_SESSIONS.c.id == session_id)).one())


def _select(connection: Connection) -> Select[Any]:
    return select(_SESSIONS, _is_fresh(connection).label("is_fresh"))


def _is_fresh(connection: Connection) -> ColumnElement[bool]:
    oldest = literal_column(bulk.later_sql(connection, -STARTING_SECONDS), type_=_SESSIONS.c.requested_at.type)
    return _SESSIONS.c.requested_at > oldest


def _session(row: Row[Any]) -> Session:
    return Session(**row._mapping)
