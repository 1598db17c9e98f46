"""Follow a virtual-agent session: what became of it, of its bot, and of its conversation."""

from datetime import datetime

from sqlalchemy import Connection

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import NotFound
from crm_sync.services import Services
from crm_sync.store import sessions
from crm_sync.store.sessions import Ending, Session


def show(services: Services, session_id: str) -> dict[str, JSON]:
    """Return a session as `describe` does; raises NotFound."""

    def work(connection: Connection) -> dict[str, JSON]:
        session = sessions.find(connection, session_id)
        if session is None:
            raise NotFound("There is no session with this id.")
        known = session.conversation_id
        return describe(session, None if known is None else sessions.ending(connection, known))

    return services.database.reading(work)


def describe(session: Session, ending: Ending | None = None) -> dict[str, JSON]:
    """Return a session as JSON values.

        id, state (starting, started, refused, failed, uncertain), reason, requested_at, started_at,
        bot_id, customer_id, type, turns, conversation_id,
        evaluation: null, or intent_name, intent_confidence, sentiment_score (null when unknown),
        escalation: null, or queue_id,
        bot: null, or session_id, state, turn_at, ended_at, end_reason, resolution,
        closure: null, or closed, ended_at, resolution, resolution_final, termination_latency_ms

    The termination latency lies between the conversation's end and our being told of it.
    """
    evaluated: dict[str, JSON] = {
        "intent_name": session.intent_name,
        "intent_confidence": session.intent_confidence,
        "sentiment_score": session.sentiment_score,
    }
    led: dict[str, JSON] = {
        "session_id": session.bot_session_id,
        "state": session.bot_state,
        "turn_at": _told(session.turn_at),
        "ended_at": _told(session.ended_at),
        "end_reason": session.end_reason,
        "resolution": session.resolution,
    }
    return {
        "id": session.id,
        "state": session.state,
        "reason": session.reason,
        "requested_at": clock.to_text(session.requested_at),
        "started_at": _told(session.started_at),
        "bot_id": session.bot_id,
        "customer_id": session.customer_id,
        "type": session.media_type,
        "turns": session.turns,
        "conversation_id": session.conversation_id,
        "evaluation": None if session.intent_confidence is None else evaluated,
        "escalation": {"queue_id": session.queue_id} if session.escalated else None,
        "bot": None if session.bot_session_id is None else led,
        "closure": None if ending is None else _described(ending),
    }


def _described(ending: Ending) -> dict[str, JSON]:
    latency_ms = None
    if ending.ended_at is not None and ending.told_at is not None:
        latency_ms = clock.to_ms(ending.told_at) - clock.to_ms(ending.ended_at)
    return {
        "closed": ending.closed,
        "ended_at": _told(ending.ended_at),
        "resolution": ending.resolution,
        "resolution_final": ending.resolution_final,
        "termination_latency_ms": latency_ms,
    }


def _told(instant: datetime | None) -> str | None:
    return None if instant is None else clock.to_text(instant)
