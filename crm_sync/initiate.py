"""STAGE 0: start a virtual-agent session: validate, count, evaluate, route, start, and remember each step."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, BadRequest, Conflict, Fault, Kind, NotFound, Unavailable
from crm_sync.genesys import agents, evaluation, session_request
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.evaluation import Evaluation
from crm_sync.genesys.session_request import SESSION_ID, SessionRequest
from crm_sync.services import Services
from crm_sync.settings import SessionSettings, Settings
from crm_sync.store import sessions
from crm_sync.store.engine import Database
from crm_sync.store.sessions import Created, Ending, Session

LONGEST_KEY = 200
EVALUATION_UNAVAILABLE = "evaluation unavailable"

# Genesys Cloud itself answers so; a gateway's 502 or 504 says nothing of what became of the request behind it.
_ANSWERED_ITSELF = ("http_500", "http_503")
_LOOKS = 2

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request: not `is_new` when its key is that of an earlier one. `fault` is Genesys Cloud's."""

    session: Session
    is_new: bool = True
    fault: Fault | None = None


def parse(body: bytes, settings: Settings) -> SessionRequest:
    """Return the request in this body; raises BadRequest, or InvalidRequest with all that is wrong at once."""
    return session_request.parse(
        session_request.decode(body), max_attribute_bytes=settings.sessions.max_attribute_bytes
    )


def start(
    services: Services,
    request: SessionRequest,
    *,
    idempotency_key: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Start a session, or say why not; the session is remembered either way.

    A repeated key never starts a second one: it returns the first, after a look at what became of it where that is
    open. Raises Unavailable without credentials or database, BadRequest and Conflict for a key that cannot be used.
    """
    if services.genesys is None:
        raise Unavailable("No session can be started: GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set.")
    start = _Start(client=services.genesys, database=services.database, limits=services.settings.sessions, sleep=sleep)
    _check_key(idempotency_key)
    created = start.create(request, idempotency_key)
    outcome = start.begin(request, created) if created.is_new else start.look_again(request, created.session)
    session = outcome.session
    log.info("session_settled", session_id=session.id, state=session.state, conversation_id=session.conversation_id)
    return outcome


def show(services: Services, session_id: str) -> dict[str, JSON]:
    """Return a session as `describe` does; raises NotFound."""

    def work(connection: Connection) -> dict[str, JSON]:
        session = sessions.find(connection, session_id)
        if session is None:
            raise NotFound("There is no session with this id.")
        known = session.conversation_id
        return describe(session, None if known is None else sessions.ending(connection, known))

    return _read(services.database, work)


def describe(session: Session, ending: Ending | None = None) -> dict[str, JSON]:
    """Return a session as JSON values.

        id, state (starting, started, refused, failed, uncertain), reason, requested_at, started_at,
        bot_id, customer_id, type, turns, conversation_id,
        evaluation: null, or intent_name, intent_confidence, sentiment_score (null when unknown),
        escalation: null, or queue_id,
        closure: null, or closed, ended_at, resolution, resolution_final, termination_latency_ms

    The termination latency lies between the conversation's end and our being told of it.
    """
    evaluated: dict[str, JSON] = {
        "intent_name": session.intent_name,
        "intent_confidence": session.intent_confidence,
        "sentiment_score": session.sentiment_score,
    }
    return {
        "id": session.id,
        "state": session.state,
        "reason": session.reason,
        "requested_at": clock.to_text(session.requested_at),
        "started_at": None if session.started_at is None else clock.to_text(session.started_at),
        "bot_id": session.bot_id,
        "customer_id": session.customer_id,
        "type": session.media_type,
        "turns": session.turns,
        "conversation_id": session.conversation_id,
        "evaluation": None if session.intent_confidence is None else evaluated,
        "escalation": {"queue_id": session.queue_id} if session.escalated else None,
        "closure": None if ending is None else _described(ending),
    }


def crossed(evaluated: Evaluation | None, turns: int, limits: SessionSettings) -> list[str]:
    """Return which thresholds are crossed, in words. An unknown sentiment crosses none."""
    reasons = [f"{turns} turns are more than {limits.max_turns}"] if turns > limits.max_turns else []
    if evaluated is not None and evaluated.intent_confidence < limits.confidence_min:
        reasons.append(f"confidence {evaluated.intent_confidence:g} is below {limits.confidence_min:g}")
    sentiment = None if evaluated is None else evaluated.sentiment_score
    if sentiment is not None and sentiment < limits.sentiment_min:
        reasons.append(f"sentiment {sentiment:g} is below {limits.sentiment_min:g}")
    return reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """The steps of one start, with what they need."""

    client: GenesysClient
    database: Database
    limits: SessionSettings
    sleep: Callable[[float], None]

    def create(self, request: SessionRequest, key: str | None) -> Created:
        def work(connection: Connection) -> Created:
            return sessions.create(
                connection,
                str(uuid.uuid4()),
                idempotency_key=key,
                bot_id=request.bot_id,
                customer_id=request.sender.id,
                media_type=request.media_type,
                turns=request.turns,
            )

        return _write(self.database, work)

    def begin(self, request: SessionRequest, created: Created) -> Outcome:
        session_id, most = created.session.id, self.limits.max_concurrent
        try:
            active = agents.active(self.client, request.bot_id)
        except AdapterFailure as error:
            return self._failed(session_id, error.fault)
        # Those that are about to start count too, or two requests at once would both take the last place.
        taken = active.count + sum(waiting not in active.ours for waiting in created.ahead)
        if taken >= most:
            reason = (
                f"The bot has {taken}/{most} active conversations: wait until one ends, or raise max_concurrent in "
                "[sessions]."
            )
            return self._settled(session_id, state="refused", reason=reason)
        evaluated, fault = self._evaluate(request)
        reasons = crossed(evaluated, request.turns, self.limits) + ([EVALUATION_UNAVAILABLE] if fault else [])
        queue_id = self.limits.human_queue_id if reasons else None
        if reasons and queue_id is None:
            return self._not_escalated(session_id, evaluated, reasons, fault)
        self._route(session_id, evaluated, queue_id, reasons)
        return self._post(request, session_id, queue_id)

    def look_again(self, request: SessionRequest, session: Session) -> Outcome:
        """Return the session of an earlier request, after a look at Genesys Cloud where its end is open."""
        asked = (request.bot_id, request.sender.id, request.media_type)
        if asked != (session.bot_id, session.customer_id, session.media_type):
            raise Conflict("This Idempotency-Key belongs to a request for another session: use a new key.")
        if session.state not in ("starting", "uncertain"):
            return Outcome(session=session, is_new=False)
        found = self._look(session.bot_id, session.id)
        if found is not None:
            return Outcome(session=self._started(session.id, found), is_new=False)
        if session.state == "starting" and session.is_fresh:
            return Outcome(session=session, is_new=False)
        return Outcome(session=self._uncertain(session.id), is_new=False)

    def _evaluate(self, request: SessionRequest) -> tuple[Evaluation | None, Fault | None]:
        if not request.message:
            return None, None
        try:
            return evaluation.evaluate(self.client, text=request.message, bot_id=request.bot_id), None
        except AdapterFailure as error:
            return None, error.fault

    def _not_escalated(
        self, session_id: str, evaluated: Evaluation | None, reasons: list[str], fault: Fault | None
    ) -> Outcome:
        self._route(session_id, evaluated, None, [])
        remedy = "set human_queue_id in [sessions]"
        if fault is not None:
            reason = f"{EVALUATION_UNAVAILABLE.capitalize()}, and no queue of people is configured: {remedy}."
            return self._settled(session_id, state="failed", reason=f"{reason} {fault.message}", fault=fault)
        reason = f"A person is needed ({'; '.join(reasons)}), and no queue of people is configured: {remedy}."
        return self._settled(session_id, state="refused", reason=reason)

    def _post(self, request: SessionRequest, session_id: str, queue_id: str | None) -> Outcome:
        body = request.as_object(session_id=session_id, queue_id=queue_id)
        try:
            return Outcome(session=self._started(session_id, agents.start(self.client, body, sleep=self.sleep)))
        except AdapterFailure as error:
            fault = error.fault
        if fault.kind is not Kind.AMBIGUOUS:
            return self._failed(session_id, fault)
        return self._search(request, session_id, fault)

    def _search(self, request: SessionRequest, session_id: str, fault: Fault) -> Outcome:
        """Settle a start whose answer was lost. It is not sent again: it may still be on its way."""
        log.warning("session_start_ambiguous", session_id=session_id, code=fault.code)
        for attempt in range(_LOOKS):
            if attempt:
                self.sleep(1.0)
            found = self._look(request.bot_id, session_id)
            if found is not None:
                return Outcome(session=self._started(session_id, found))
        if fault.code in _ANSWERED_ITSELF:
            return self._failed(session_id, fault)
        return Outcome(session=self._uncertain(session_id), fault=fault)

    def _look(self, bot_id: str, session_id: str) -> str | None:
        try:
            return agents.active(self.client, bot_id).ours.get(session_id)
        except AdapterFailure:
            return None

    def _route(self, session_id: str, evaluated: Evaluation | None, queue_id: str | None, reasons: list[str]) -> None:
        def work(connection: Connection) -> None:
            sessions.route(
                connection,
                session_id,
                intent_name=None if evaluated is None else evaluated.intent_name,
                intent_confidence=None if evaluated is None else evaluated.intent_confidence,
                sentiment_score=None if evaluated is None else evaluated.sentiment_score,
                queue_id=queue_id,
                reason="; ".join(reasons) or None,
            )

        _write(self.database, work)

    def _started(self, session_id: str, conversation_id: str) -> Session:
        return _write(self.database, lambda connection: sessions.started(connection, session_id, conversation_id))

    def _failed(self, session_id: str, fault: Fault) -> Outcome:
        return self._settled(session_id, state="failed", reason=fault.message, fault=fault)

    def _uncertain(self, session_id: str) -> Session:
        reason = (
            "It is not known whether this session was started, for the answer was lost and no active conversation "
            f"carries its id: ask again with the same Idempotency-Key, or look in Genesys Cloud for {SESSION_ID}."
        )
        return self._settled(session_id, state="uncertain", reason=reason).session

    def _settled(self, session_id: str, *, state: str, reason: str, fault: Fault | None = None) -> Outcome:
        def work(connection: Connection) -> Session:
            return sessions.not_started(connection, session_id, state=state, reason=reason)

        return Outcome(session=_write(self.database, work), fault=fault)


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= LONGEST_KEY and key.isprintable()):
        raise BadRequest(f"The Idempotency-Key must have 1 to {LONGEST_KEY} printable characters.")


def _described(ending: Ending) -> dict[str, JSON]:
    latency_ms = None
    if ending.ended_at is not None and ending.told_at is not None:
        latency_ms = clock.to_ms(ending.told_at) - clock.to_ms(ending.ended_at)
    return {
        "closed": ending.closed,
        "ended_at": None if ending.ended_at is None else clock.to_text(ending.ended_at),
        "resolution": ending.resolution,
        "resolution_final": ending.resolution_final,
        "termination_latency_ms": latency_ms,
    }


def _read(database: Database, work: Callable[[Connection], Result]) -> Result:
    def run() -> Result:
        with database.read() as connection:
            return work(connection)

    return database.run(run)


def _write(database: Database, work: Callable[[Connection], Result]) -> Result:
    def run() -> Result:
        with database.write() as connection:
            return work(connection)

    return database.run(run)
