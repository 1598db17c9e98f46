"""Bot flow sessions of the real platform: launched, then led turn by turn until the bot has finished."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from crm_sync.closure import JSON
from crm_sync.genesys import once
from crm_sync.genesys.client import GenesysClient, not_understood
from crm_sync.genesys.session_request import SessionRequest
from crm_sync.resolution import Status
from crm_sync.settings_sessions import SessionSettings

_PATH = "/api/v2/textbots/botflows/sessions"
_ENDS = ("Exit", "Disconnect")
_PEOPLE = ("AgentRequestedByUser", "RecognitionFailure", "Error")
_LONGEST_REASON = 100
_LAUNCH_MALFORMED = (
    "see that to[0].id is the id of a published bot flow, and that [sessions] names a language and a channel it has"
)
_TURN_MALFORMED = "compare the turn with what this version of crm-sync was made for"
_CHANNELS = {"chat": ("Chat", "GenesysWebWidget"), "call": ("Call", "Phone"), "voice": ("Call", "Phone")}
_OTHER_CHANNEL = ("Messaging", "Open")
_BY_REASON = {
    "AgentRequestedByUser": Status.ESCALATED,
    "RecognitionFailure": Status.UNRESOLVED,
    "Error": Status.UNRESOLVED,
    "SessionExpired": Status.ABANDONED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the bot said and does next. Only when it has finished there is a reason, in the platform's own word."""

    id: str
    next_action: str
    prompts: tuple[str, ...] = field(default=(), repr=False)
    end_reason: str | None = None
    resolution: Status | None = None

    @property
    def needs_people(self) -> bool:
        """Whether the bot finished because a person is to go on."""
        return self.end_reason in _PEOPLE


def launch(
    client: GenesysClient,
    request: SessionRequest,
    *,
    session_id: str,
    settings: SessionSettings,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Launch a session under our own id and return the platform's; nothing is said before the first turn."""
    channel, agent = _CHANNELS.get(request.media_type.casefold(), _OTHER_CHANNEL)
    body: dict[str, JSON] = {
        "flow": {"id": request.bot_id},
        "externalSessionId": session_id,
        "language": settings.language,
        "inputData": {"variables": dict(request.texts())},
        "channel": {
            "name": settings.channel or channel,
            "inputModes": ["Text"],
            "outputModes": ["Text"],
            "userAgent": {"name": settings.user_agent or agent},
        },
    }
    if request.conversation_id is not None:
        body["conversationId"] = request.conversation_id
    bot_session_id = once.id_of(once.post(client, _PATH, body, malformed=_LAUNCH_MALFORMED, sleep=sleep).json())
    if bot_session_id is None:
        raise not_understood("the launch of a bot flow session")
    return bot_session_id


def take_turn(
    client: GenesysClient,
    bot_session_id: str,
    *,
    previous: str | None = None,
    text: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Turn:
    """Tell the bot what the customer says, or nothing in the first turn, and return its answer.

    `previous` is the turn before: the platform refuses the call when another one was taken after that.
    """
    body: dict[str, JSON] = {"inputEventType": "NoOp" if text is None else "UserInput"}
    if previous is not None:
        body["previousTurn"] = {"id": previous}
    if text is not None:
        transcript: JSON = {"text": text, "confidence": 1.0}
        body["inputEventUserInput"] = {"mode": "Text", "alternatives": [{"transcript": transcript}]}
    path = f"{_PATH}/{quote(bot_session_id, safe='')}/turns"
    return read_turn(once.post(client, path, body, malformed=_TURN_MALFORMED, sleep=sleep).json())


def read_turn(answer: JSON) -> Turn:
    """Return the turn that this answer tells; raises AdapterFailure, of kind AMBIGUOUS, where it tells none."""
    turn_id = once.id_of(answer)
    action = answer.get("nextActionType") if isinstance(answer, dict) else None
    if turn_id is None or not isinstance(answer, dict) or not isinstance(action, str):
        raise not_understood("a turn of a bot flow session")
    end = answer.get(f"nextAction{action}") if action in _ENDS else None
    reason = end.get("reason") if isinstance(end, dict) else None
    named = reason.replace("\0", "")[:_LONGEST_REASON] if isinstance(reason, str) else None
    return Turn(
        id=turn_id,
        next_action=action,
        prompts=tuple(_prompts(answer.get("prompts"))),
        end_reason=named or (action if action in _ENDS else None),
        resolution=_resolution(end, named) if action in _ENDS else None,
    )


def _resolution(end: JSON, reason: str | None) -> Status:
    """Return how a finished session was resolved: whoever asked for a person has not been served by the bot."""
    listed = end.get("flowOutcomes") if isinstance(end, dict) else None
    values = [one.get("outcomeValue") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if "FAILURE" in values:
        return Status.UNRESOLVED
    return Status.RESOLVED if "SUCCESS" in values else Status.UNKNOWN


def _prompts(prompts: JSON) -> Iterator[str]:
    texts = prompts.get("textPrompts") if isinstance(prompts, dict) else None
    segments = texts.get("segments") if isinstance(texts, dict) else None
    for segment in segments if isinstance(segments, list) else []:
        text = segment.get("text") if isinstance(segment, dict) else None
        if isinstance(text, str) and text:
            yield text
