"""The turns of a session that a bot leads: one at a time, each claimed before it is taken and settled after it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, literal_column, or_, text, update

from crm_sync.store import bulk, sessions
from crm_sync.store.sessions import STARTING_SECONDS, Session
from crm_sync.store.tables import AgentSessionRow

_SESSIONS = AgentSessionRow.metadata.tables["agent_sessions"]


def launched(connection: Connection, session_id: str, bot_session_id: str, handover: Mapping[str, Any]) -> Session:
    """Remember the bot's session and what people would need, and claim its first turn."""
    values = {"bot_session_id": bot_session_id, "handover": dict(handover), "bot_state": "taking"}
    at = text(bulk.now_sql(connection))
    connection.execute(update(_SESSIONS).where(_SESSIONS.c.id == session_id).values(**values, turn_at=at))
    return _found(connection, session_id)


def claim(connection: Connection, session_id: str) -> Session | None:
    """Claim the next turn and return the session as it was before; None when there is no turn to take.

    A claim that is older than any turn takes was left by its process, and nobody knows what became of its turn.
    """
    before = sessions.lock(connection, session_id)
    c = _SESSIONS.c
    oldest = literal_column(bulk.later_sql(connection, -STARTING_SECONDS), type_=c.turn_at.type)
    is_free = or_(c.bot_state.in_(("waiting", "lost", "people")), (c.bot_state == "taking") & (c.turn_at < oldest))
    claimed = connection.execute(
        update(_SESSIONS)
        .where(c.id == session_id, c.state == "started", is_free)
        .values(bot_state="taking", turn_at=text(bulk.now_sql(connection)))
        .returning(c.turn_at)
    ).first()
    if before is None or claimed is None:
        return None
    return replace(before, bot_state="lost" if before.bot_state == "taking" else before.bot_state, turn_at=claimed[0])


def answered(
    connection: Connection, session: Session, *, turn_id: str, turns: int, keeps_claim: bool = False
) -> Session:
    """Settle a turn after which the bot waits for the next one, which may go on under the same claim."""
    values = {"turn_id": turn_id, "turns": turns}
    return _settle(connection, session, values | ({} if keeps_claim else {"bot_state": "waiting"}))


def unanswered(connection: Connection, session: Session, *, bot_state: str) -> Session:
    """Settle a turn that was not taken, or nobody knows; `bot_state` is what may be tried next."""
    return _settle(connection, session, {"bot_state": bot_state})


def finished(
    connection: Connection,
    session: Session,
    *,
    end_reason: str,
    resolution: str,
    turn_id: str,
    turns: int,
    needs_people: bool,
) -> Session:
    """Settle the bot's last turn. Where people are needed the claim is kept, to reach them under it."""
    values: dict[str, Any] = {
        "turn_id": turn_id,
        "turns": turns,
        "end_reason": end_reason,
        "resolution": resolution,
        "ended_at": text(bulk.now_sql(connection)),
    }
    return _settle(connection, session, values | ({} if needs_people else {"bot_state": "over", "handover": None}))


def handed_over(
    connection: Connection, session: Session, *, conversation_id: str | None, queue_id: str, reason: str
) -> Session:
    """Settle a session as being in the hands of people; the conversation is None where its id was lost."""
    values = {"escalated": True, "queue_id": queue_id, "resolution": "escalated", "reason": reason}
    return _over(
        connection, session, values | ({} if conversation_id is None else {"conversation_id": conversation_id})
    )


def left_alone(connection: Connection, session: Session, *, reason: str) -> Session:
    """Settle a session that neither the bot nor people go on with."""
    resolution = func.coalesce(_SESSIONS.c.resolution, "unresolved")
    return _over(connection, session, {"reason": reason, "resolution": resolution})


def _over(connection: Connection, session: Session, values: Mapping[str, Any]) -> Session:
    now = literal_column(bulk.now_sql(connection), type_=_SESSIONS.c.ended_at.type)
    ended_at = func.coalesce(_SESSIONS.c.ended_at, now)
    return _settle(connection, session, {**values, "bot_state": "over", "handover": None, "ended_at": ended_at})


def _settle(connection: Connection, session: Session, values: Mapping[str, Any]) -> Session:
    # Who comes too late writes nothing: somebody else has claimed the turn meanwhile.
    is_ours = (_SESSIONS.c.bot_state == "taking") & (_SESSIONS.c.turn_at == session.turn_at)
    connection.execute(update(_SESSIONS).where(_SESSIONS.c.id == session.id, is_ours).values(**values))
    return _found(connection, session.id)


def _found(connection: Connection, session_id: str) -> Session:
    found = sessions.find(connection, session_id)
    if found is None:
        raise LookupError("a session is never removed while it is led")
    return found
