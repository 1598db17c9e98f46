"""People in the place of a bot on the real platform: a callback, or a live conversation moved to their queue."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote

from crm_sync.closure import JSON
from crm_sync.genesys import once
from crm_sync.genesys.client import GenesysClient, not_understood
from crm_sync.genesys.session_request import SESSION_ID, SessionRequest

NO_QUEUE = "no queue of people is configured: set human_queue_id in [sessions]"

_CONVERSATIONS = "/api/v2/conversations"
_MALFORMED = "see that human_queue_id is the id of a queue, and that callback_number is a whole telephone number"
_NO_WAY = (
    "the request names neither a callback_number nor a live conversation_id with its participant_id: send one of them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What people need in order to go on with a customer."""

    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str | None = field(default=None, repr=False)
    callback_number: str | None = field(default=None, repr=False)
    conversation_id: str | None = None
    participant_id: str | None = None

    @classmethod
    def of(cls, request: SessionRequest) -> Self:
        """Return what a request brings."""
        return cls(
            attributes=request.texts(),
            name=request.sender.name or None,
            callback_number=request.callback_number,
            conversation_id=request.conversation_id,
            participant_id=request.participant_id,
        )

    @property
    def is_live(self) -> bool:
        """Whether there is a conversation that can be moved."""
        return self.conversation_id is not None and self.participant_id is not None

    def obstacle(self, queue_id: str | None) -> str | None:
        """Return in words, with the remedy, why people cannot be reached; None where they can."""
        if queue_id is None:
            return NO_QUEUE
        return None if self.is_live or self.callback_number is not None else _NO_WAY


def hand_over(
    client: GenesysClient,
    handover: Handover,
    *,
    session_id: str,
    queue_id: str,
    reason: str,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Move the live conversation to the queue, or else ask for a callback, and return the conversation's id.

    Raises AdapterFailure; one of kind AMBIGUOUS means that people may have been told all the same.
    """
    if handover.conversation_id is not None and handover.participant_id is not None:
        live = f"{_CONVERSATIONS}/{quote(handover.conversation_id, safe='')}"
        path = f"{live}/participants/{quote(handover.participant_id, safe='')}/replace/queue"
        transfer: dict[str, JSON] = {"queueId": queue_id, "transferType": "Unattended"}
        once.post(client, path, transfer, malformed=_MALFORMED, sleep=sleep)
        return handover.conversation_id
    body: dict[str, JSON] = {
        "queueId": queue_id,
        "callbackNumbers": [handover.callback_number],
        "data": {**handover.attributes, "escalation_reason": reason, SESSION_ID: session_id},
    }
    if handover.name is not None:
        body["callbackUserName"] = handover.name
    answer = once.post(client, f"{_CONVERSATIONS}/callbacks", body, malformed=_MALFORMED, sleep=sleep).json()
    conversation_id = once.id_of(answer.get("conversation") if isinstance(answer, dict) else None)
    if conversation_id is None:
        raise not_understood("the callback")
    return conversation_id
