"""STAGE 0: start a virtual-agent session: validate, count, evaluate, route, start, and remember each step."""

import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import structlog
from sqlalchemy import Connection

from crm_sync import converse
from crm_sync.converse import Said, Talk
from crm_sync.errors import AdapterFailure, BadRequest, Conflict, Fault, Kind, Unavailable
from crm_sync.genesys import session_request, virtual_agents
from crm_sync.genesys.evaluation import Evaluation, crossed
from crm_sync.genesys.people import Handover
from crm_sync.genesys.session_request import SessionRequest
from crm_sync.genesys.virtual_agents import VirtualAgents
from crm_sync.services import Services
from crm_sync.settings import Settings
from crm_sync.settings_sessions import SessionSettings
from crm_sync.store import sessions, turns
from crm_sync.store.engine import Database
from crm_sync.store.sessions import Created, Session

LONGEST_KEY = 200
EVALUATION_UNAVAILABLE = "evaluation unavailable"

# Genesys Cloud itself answers so; a gateway's 502 or 504 says nothing of what became of the request behind it.
_ANSWERED_ITSELF = ("http_500", "http_503")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request: not `is_new` when its key is that of an earlier one. `fault` is Genesys Cloud's.

    `said` is how a bot that is led turn by turn has opened the session.
    """

    session: Session
    is_new: bool = True
    fault: Fault | None = None
    said: Said | None = field(default=None, repr=False)


def parse(body: bytes, settings: Settings) -> SessionRequest:
    """Return the request in this body; raises BadRequest, or InvalidRequest with all that is wrong at once."""
    limits = settings.sessions
    return session_request.parse(
        session_request.decode(body),
        max_attribute_bytes=limits.max_attribute_bytes,
        platform=limits if settings.genesys.dialect == "platform" else None,
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
        raise Unavailable(converse.NO_CREDENTIALS)
    client, database, limits = services.genesys, services.database, services.settings.sessions
    start = _Start(
        agents=virtual_agents.of(client, limits, sleep=sleep),
        talk=Talk(client=client, database=database, limits=limits, sleep=sleep),
        database=database,
        limits=limits,
        sleep=sleep,
    )
    _check_key(idempotency_key)
    created = start.create(request, idempotency_key)
    outcome = start.begin(request, created) if created.is_new else start.look_again(request, created.session)
    session = outcome.session
    log.info("session_settled", session_id=session.id, state=session.state, conversation_id=session.conversation_id)
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """The steps of one start, with what they need."""

    agents: VirtualAgents
    talk: Talk
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
                conversation_id=request.conversation_id,
            )

        return self.database.writing(work)

    def begin(self, request: SessionRequest, created: Created) -> Outcome:
        session_id, most = created.session.id, self.limits.max_concurrent
        try:
            taken = self._taken(created)
        except AdapterFailure as error:
            return self._failed(session_id, error.fault)
        if taken >= most:
            reason = (
                f"The bot has {taken}/{most} active conversations: wait until one ends, or raise max_concurrent in "
                "[sessions]."
            )
            return self._settled(session_id, state="refused", reason=reason)
        evaluated, fault = self._evaluate(request)
        reasons = crossed(evaluated, request.turns, self.limits) + ([EVALUATION_UNAVAILABLE] if fault else [])
        queue_id, reason = (self.limits.human_queue_id, "; ".join(reasons)) if reasons else (None, "")
        obstacle = self.agents.obstacle(request, queue_id) if reasons else None
        self._route(session_id, evaluated, None if obstacle else queue_id, "" if obstacle else reason)
        if obstacle is None:
            return self._post(request, session_id, queue_id, reason)
        if fault is None:
            return self._settled(session_id, state="refused", reason=converse.unreachable(reason, obstacle))
        sentence = f"{EVALUATION_UNAVAILABLE.capitalize()}, and {obstacle}. {fault.message}"
        return self._settled(session_id, state="failed", reason=sentence, fault=fault)

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

    def _taken(self, created: Created) -> int:
        """Return how many the bot has. Those about to start count, or two at once would both take the last place."""
        bot_id, ahead = created.session.bot_id, created.ahead
        active = self.agents.active(bot_id)
        if active is not None:
            return active.count + sum(waiting not in active.ours for waiting in ahead)
        idle_seconds = self.limits.idle_minutes * 60
        led = self.database.reading(lambda connection: sessions.led_by(connection, bot_id, idle_seconds=idle_seconds))
        return len(led.union(ahead))

    def _evaluate(self, request: SessionRequest) -> tuple[Evaluation | None, Fault | None]:
        try:
            return self.agents.evaluate(request), None
        except AdapterFailure as error:
            return None, error.fault

    def _post(self, request: SessionRequest, session_id: str, queue_id: str | None, reason: str) -> Outcome:
        try:
            begun = self.agents.start(request, session_id=session_id, queue_id=queue_id, reason=reason)
        except AdapterFailure as error:
            return self._not_begun(request, session_id, error.fault)
        if begun.bot_session_id is None:
            return Outcome(session=self._started(session_id, begun.conversation_id))
        return self._open(request, session_id, begun.bot_session_id)

    def _open(self, request: SessionRequest, session_id: str, bot_session_id: str) -> Outcome:
        handover = asdict(Handover.of(request))
        session = self.database.writing(
            lambda connection: turns.launched(connection, session_id, bot_session_id, handover)
        )
        said = self.talk.open(session, request.message)
        if said.fault is not None:
            return self._not_begun(request, session_id, said.fault)
        if said.error is not None:
            return self._settled(session_id, state="refused", reason=said.error)
        return Outcome(session=self._started(session_id, said.session.conversation_id), said=said)

    def _not_begun(self, request: SessionRequest, session_id: str, fault: Fault) -> Outcome:
        """Settle a start that failed or whose answer was lost: that is not sent again, it may still be on its way."""
        if fault.kind is not Kind.AMBIGUOUS:
            return self._failed(session_id, fault)
        log.warning("session_start_ambiguous", session_id=session_id, code=fault.code)
        for attempt in range(self.agents.looks):
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
            active = self.agents.active(bot_id)
        except AdapterFailure:
            return None
        return None if active is None else active.ours.get(session_id)

    def _route(self, session_id: str, evaluated: Evaluation | None, queue_id: str | None, reason: str) -> None:
        def work(connection: Connection) -> None:
            sessions.route(
                connection,
                session_id,
                intent_name=None if evaluated is None else evaluated.intent_name,
                intent_confidence=None if evaluated is None else evaluated.intent_confidence,
                sentiment_score=None if evaluated is None else evaluated.sentiment_score,
                queue_id=queue_id,
                reason=reason or None,
            )

        self.database.writing(work)

    def _started(self, session_id: str, conversation_id: str | None) -> Session:
        return self.database.writing(lambda connection: sessions.started(connection, session_id, conversation_id))

    def _failed(self, session_id: str, fault: Fault) -> Outcome:
        return self._settled(session_id, state="failed", reason=fault.message, fault=fault)

    def _uncertain(self, session_id: str) -> Session:
        return self._settled(session_id, state="uncertain", reason=self.agents.lost).session

    def _settled(self, session_id: str, *, state: str, reason: str, fault: Fault | None = None) -> Outcome:
        def work(connection: Connection) -> Session:
            return sessions.not_started(connection, session_id, state=state, reason=reason)

        return Outcome(session=self.database.writing(work), fault=fault)


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= LONGEST_KEY and key.isprintable()):
        raise BadRequest(f"The Idempotency-Key must have 1 to {LONGEST_KEY} printable characters.")
