"""Virtual agents behind one interface: by the tutorial's contract, or as the real platform has them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from crm_sync.genesys import agents, bot_flows, evaluation, people
from crm_sync.genesys.agents import Active
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.evaluation import Evaluation
from crm_sync.genesys.people import Handover
from crm_sync.genesys.session_request import SESSION_ID, SessionRequest
from crm_sync.settings_sessions import SessionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What was started: a conversation, a session that a bot leads turn by turn, or one in the other."""

    conversation_id: str | None = None
    bot_session_id: str | None = None


class VirtualAgents(Protocol):
    """What differs between the two. The calls raise AdapterFailure, a start one of kind AMBIGUOUS where it is lost."""

    looks: ClassVar[int]
    """How often it is worth while to look among the active conversations for a start whose answer was lost."""
    lost: ClassVar[str]
    """What is told of a start whose answer was lost and that cannot be found."""

    def active(self, bot_id: str) -> Active | None:
        """Return a bot's active conversations, or None where nobody can be asked, so that our own record counts."""

    def evaluate(self, request: SessionRequest) -> Evaluation | None:
        """Return what the first message is worth, or None where there is none or nobody to ask."""

    def obstacle(self, request: SessionRequest, queue_id: str | None) -> str | None:
        """Return in words, with the remedy, why people cannot answer in place of the bot; None where they can."""

    def start(self, request: SessionRequest, *, session_id: str, queue_id: str | None, reason: str) -> Begun:
        """Start it under our id with the bot, or for this reason with the people of a queue."""


def of(
    client: GenesysClient, settings: SessionSettings, *, sleep: Callable[[float], None] = time.sleep
) -> VirtualAgents:
    """Return the virtual agents in the dialect of this client."""
    made = Tutorial if client.dialect == "tutorial" else Platform
    return made(client=client, settings=settings, sleep=sleep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tutorial:
    """One call starts the conversation together with its routing."""

    looks: ClassVar[int] = 2
    lost: ClassVar[str] = (
        "It is not known whether this session was started, for the answer was lost and no active conversation "
        f"carries its id: ask again with the same Idempotency-Key, or look in Genesys Cloud for {SESSION_ID}."
    )
    client: GenesysClient
    settings: SessionSettings
    sleep: Callable[[float], None] = time.sleep

    def active(self, bot_id: str) -> Active | None:
        return agents.active(self.client, bot_id)

    def evaluate(self, request: SessionRequest) -> Evaluation | None:
        if not request.message:
            return None
        return evaluation.evaluate(self.client, text=request.message, bot_id=request.bot_id)

    def obstacle(self, request: SessionRequest, queue_id: str | None) -> str | None:
        return people.NO_QUEUE if queue_id is None else None

    def start(self, request: SessionRequest, *, session_id: str, queue_id: str | None, reason: str) -> Begun:
        body = request.as_object(session_id=session_id, queue_id=queue_id)
        return Begun(conversation_id=agents.start(self.client, body, sleep=self.sleep))


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A bot flow session with the bot; a callback or a moved conversation with people."""

    looks: ClassVar[int] = 0
    lost: ClassVar[str] = (
        "It is not known whether this session was started, for the answer was lost and sessions of a bot cannot be "
        f"looked up: the same Idempotency-Key never starts it again. A callback carries {SESSION_ID}: look for it in "
        "the queue of people, then ask with a new key."
    )
    client: GenesysClient
    settings: SessionSettings
    sleep: Callable[[float], None] = time.sleep

    def active(self, bot_id: str) -> Active | None:
        return None

    def evaluate(self, request: SessionRequest) -> Evaluation | None:
        return None if not request.message else evaluation.detect(self.client, request.message, self.settings)

    def obstacle(self, request: SessionRequest, queue_id: str | None) -> str | None:
        return Handover.of(request).obstacle(queue_id)

    def start(self, request: SessionRequest, *, session_id: str, queue_id: str | None, reason: str) -> Begun:
        if queue_id is None:
            bot_session_id = bot_flows.launch(
                self.client, request, session_id=session_id, settings=self.settings, sleep=self.sleep
            )
            return Begun(conversation_id=request.conversation_id, bot_session_id=bot_session_id)
        handover = Handover.of(request)
        return Begun(
            conversation_id=people.hand_over(
                self.client, handover, session_id=session_id, queue_id=queue_id, reason=reason, sleep=self.sleep
            )
        )
