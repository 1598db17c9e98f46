"""Lead a session with a bot turn by turn, and hand it to people where the bot cannot go on."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog
from sqlalchemy import Connection

from crm_sync.errors import AdapterFailure, BadRequest, Conflict, Fault, Kind, NotFound, Unavailable
from crm_sync.genesys import bot_flows, evaluation, people
from crm_sync.genesys.bot_flows import Turn
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.people import Handover
from crm_sync.resolution import Status
from crm_sync.services import Services
from crm_sync.settings_sessions import SessionSettings
from crm_sync.store import sessions, turns
from crm_sync.store.engine import Database
from crm_sync.store.sessions import Session

LONGEST_TEXT = 10_000
NO_CREDENTIALS = "No session can be started: GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set."

# The bot has left the session, or has gone on in it without us: no further turn of ours will be taken.
_BOT_IS_GONE = ("http_404", "http_409", "http_410")
_GONE = "SessionGone"
_LOST = (
    "It is not known whether the bot heard this, for its answer was lost: say it once more, which the bot refuses if "
    "it did, and people take over then."
)
_HANDOVER_LOST = (
    "It is not known whether people were told, for the answer was lost: look in the queue for crmSyncSessionId before "
    "you ask again."
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came of a turn. `error` is a sentence where it was not taken or people not told; `fault` is Genesys Cloud's.

    `next_action` is the bot's, in the platform's own word; where people go on without a last turn of the bot, `Exit`.
    """

    session: Session
    prompts: tuple[str, ...] = field(default=(), repr=False)
    next_action: str | None = None
    error: str | None = None
    fault: Fault | None = None


def say(services: Services, session_id: str, text: str, *, sleep: Callable[[float], None] = time.sleep) -> Said:
    """Tell the bot what the customer says. Beyond `max_turns`, or when the bot gives up, people take over.

    Raises BadRequest, NotFound, Conflict where no turn can be taken, and Unavailable without credentials or database.
    """
    if services.genesys is None:
        raise Unavailable(NO_CREDENTIALS)
    _check(text)
    limits = services.settings.sessions
    talk = Talk(client=services.genesys, database=services.database, limits=limits, sleep=sleep)
    session = services.database.writing(lambda connection: turns.claim(connection, session_id))
    if session is None:
        raise _not_claimed(services.database, session_id)
    said = talk.go_on(session, text)
    log.info("turn_settled", session_id=session_id, bot_state=said.session.bot_state, turns=said.session.turns)
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """The turns of a session, each of which must have been claimed, with what they need."""

    client: GenesysClient
    database: Database
    limits: SessionSettings
    sleep: Callable[[float], None]

    def open(self, session: Session, message: str | None) -> Said:
        """Let the bot greet, and tell it the customer's first message where there is one."""
        greeting = self._turn(session, None, session.turns, keeps_claim=bool(message))
        if not message or greeting.error is not None or greeting.session.bot_state != "taking":
            return greeting
        answer = self._turn(greeting.session, message, session.turns)
        return replace(answer, prompts=greeting.prompts + answer.prompts)

    def go_on(self, session: Session, text: str) -> Said:
        """Take the customer's next turn, or hand the session to people where they are needed first."""
        if session.end_reason is not None:
            return self._hand_over(session, _ended_with(session.end_reason))
        number = session.turns + 1
        reasons = evaluation.crossed(None, number, self.limits)
        return self._hand_over(session, "; ".join(reasons)) if reasons else self._turn(session, text, number)

    def _turn(self, session: Session, text: str | None, number: int, *, keeps_claim: bool = False) -> Said:
        try:
            turn = bot_flows.take_turn(
                self.client, session.bot_session_id or "", previous=session.turn_id, text=text, sleep=self.sleep
            )
        except AdapterFailure as error:
            return self._unanswered(session, error.fault)
        if turn.end_reason is not None:
            return self._ended(session, turn, number)

        def work(connection: Connection) -> Session:
            return turns.answered(connection, session, turn_id=turn.id, turns=number, keeps_claim=keeps_claim)

        return Said(session=self.database.writing(work), prompts=turn.prompts, next_action=turn.next_action)

    def _ended(self, session: Session, turn: Turn, number: int) -> Said:
        ended = self._finish(session, turn, number)
        if turn.needs_people:
            return self._hand_over(ended, _ended_with(ended.end_reason), prompts=turn.prompts)
        return Said(session=ended, prompts=turn.prompts, next_action=turn.next_action)

    def _unanswered(self, session: Session, fault: Fault) -> Said:
        if session.turn_id is not None and fault.code in _BOT_IS_GONE:
            gone = Turn(id=session.turn_id, next_action="Exit", end_reason=_GONE, resolution=Status.UNRESOLVED)
            return self._hand_over(self._finish(session, gone, session.turns), _ended_with(_GONE))
        is_lost = fault.kind is Kind.AMBIGUOUS
        state = "lost" if is_lost else session.bot_state or "waiting"
        if is_lost:
            log.warning("turn_ambiguous", session_id=session.id, code=fault.code)
        return Said(session=self._release(session, state), error=_LOST if is_lost else fault.message, fault=fault)

    def _hand_over(self, session: Session, reason: str, *, prompts: tuple[str, ...] = ()) -> Said:
        queue_id, handover = self.limits.human_queue_id, Handover(**session.handover or {})
        obstacle = handover.obstacle(queue_id)
        if queue_id is None or obstacle is not None:
            sentence = unreachable(reason, obstacle)
            left = self.database.writing(lambda connection: turns.left_alone(connection, session, reason=sentence))
            return Said(session=left, prompts=prompts, error=sentence)
        try:
            conversation_id = people.hand_over(
                self.client, handover, session_id=session.id, queue_id=queue_id, reason=reason, sleep=self.sleep
            )
        except AdapterFailure as error:
            return self._not_handed_over(session, queue_id, error.fault, prompts)
        handed = self._in_hands(session, conversation_id, queue_id, reason)
        return Said(session=handed, prompts=prompts, next_action="Exit")

    def _not_handed_over(self, session: Session, queue_id: str, fault: Fault, prompts: tuple[str, ...]) -> Said:
        if fault.kind is not Kind.AMBIGUOUS:
            return Said(session=self._release(session, "people"), prompts=prompts, error=fault.message, fault=fault)
        log.warning("handover_ambiguous", session_id=session.id, code=fault.code)
        handed = self._in_hands(session, None, queue_id, _HANDOVER_LOST)
        return Said(session=handed, prompts=prompts, error=_HANDOVER_LOST, fault=fault)

    def _finish(self, session: Session, turn: Turn, number: int) -> Session:
        def work(connection: Connection) -> Session:
            return turns.finished(
                connection,
                session,
                turn_id=turn.id,
                turns=number,
                end_reason=turn.end_reason or turn.next_action,
                resolution=turn.resolution or Status.UNKNOWN,
                needs_people=turn.needs_people or turn.end_reason == _GONE,
            )

        return self.database.writing(work)

    def _release(self, session: Session, bot_state: str) -> Session:
        return self.database.writing(lambda connection: turns.unanswered(connection, session, bot_state=bot_state))

    def _in_hands(self, session: Session, conversation_id: str | None, queue_id: str, reason: str) -> Session:
        def work(connection: Connection) -> Session:
            return turns.handed_over(
                connection, session, conversation_id=conversation_id, queue_id=queue_id, reason=reason
            )

        return self.database.writing(work)


def unreachable(reason: str, obstacle: str | None) -> str:
    """Return the sentence for a session that needs people who cannot be reached."""
    return f"A person is needed ({reason}), and {obstacle}."


def _ended_with(end_reason: str | None) -> str:
    return "the bot has left the session" if end_reason == _GONE else f"the bot ended with {end_reason}"


def _check(text: str) -> None:
    # Half a surrogate is what bytes that are no UTF-8 become on a command line.
    if not text.strip() or len(text) > LONGEST_TEXT or re.search("[\0\ud800-\udfff]", text):
        raise BadRequest(f"text must have 1 to {LONGEST_TEXT} characters of Unicode, not all of them blank, none NUL.")


def _not_claimed(database: Database, session_id: str) -> NotFound | Conflict:
    session = database.reading(lambda connection: sessions.find(connection, session_id))
    if session is None:
        return NotFound("There is no session with this id.")
    if session.bot_state == "taking":
        return Conflict("Another turn of this session is being taken: wait for its answer.")
    if session.bot_state == "over":
        return Conflict(f"The bot has finished with this session ({session.end_reason or session.reason}).")
    return Conflict(f"No bot leads this session, which is {session.state}, turn by turn: there is nobody to say it to.")
