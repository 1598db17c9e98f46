"""The conversations of the pretend Genesys Cloud: started by the API, ended by the control API, kept in memory."""

import threading
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime

from crm_sync import clock
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject, compact

MAX_ATTRIBUTE_BYTES = 40_960


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation. The parties, the attributes and the routing are kept as they were sent."""

    id: str
    type: str
    to: list[JSONObject] = field(repr=False)
    sender: JSONObject = field(repr=False)
    attributes: JSONObject = field(repr=False)
    routing: JSONObject | None = None
    started_at: datetime
    ended_at: datetime | None = None
    resolution_status: str | None = None

    @property
    def state(self) -> str:
        return "active" if self.ended_at is None else "closed"

    def as_object(self) -> JSONObject:
        """Return the full conversation object, as the API and the webhook give it."""
        optional = {
            "endTime": None if self.ended_at is None else clock.to_text(self.ended_at),
            "resolutionStatus": self.resolution_status,
            "routing": self.routing,
        }
        return {
            "id": self.id,
            "type": self.type,
            "state": self.state,
            "to": self.to,
            "from": self.sender,
            "startTime": clock.to_text(self.started_at),
            "attributes": self.attributes,
        } | {name: value for name, value in optional.items() if value is not None}


class Conversations:
    """All conversations, in the order in which they started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Conversation] = {}

    def start(self, payload: JSONObject, *, at: datetime) -> Conversation:
        """Start a conversation; raises Problem 400 for a payload that breaks the contract."""
        _check(payload)
        conversation = Conversation(
            id=str(uuid.uuid4()),
            type=payload["type"],
            to=payload["to"],
            sender=payload["from"],
            attributes=_attributes(payload),
            routing=payload.get("routing"),
            started_at=at,
        )
        with self._lock:
            self._by_id[conversation.id] = conversation
        return conversation

    def end(self, conversation_id: str, *, at: datetime, resolution_status: str | None) -> Conversation:
        """Close a conversation, or correct one that is closed; raises Problem 404 for an unknown one."""
        with self._lock:
            known = self._by_id.get(conversation_id)
            if known is None:
                raise Problem(404, "There is no such conversation.")
            ended = replace(known, ended_at=at, resolution_status=resolution_status)
            self._by_id[conversation_id] = ended
        return ended

    def get(self, conversation_id: str) -> Conversation:
        """Return one conversation; raises Problem 404 for an unknown one."""
        with self._lock:
            known = self._by_id.get(conversation_id)
        if known is None:
            raise Problem(404, "There is no such conversation.")
        return known

    def select(self, *, bot_id: str | None = None, state: str | None = None) -> list[Conversation]:
        """Return those addressed to a bot and in a state, where these are given."""
        with self._lock:
            known = list(self._by_id.values())
        return [
            conversation
            for conversation in known
            if (state is None or conversation.state == state)
            and (bot_id is None or any(party.get("id") == bot_id for party in conversation.to))
        ]


def _check(payload: JSONObject) -> None:
    to, kind, routing = payload.get("to"), payload.get("type"), payload.get("routing")
    # Go writes a party or text that was never set as {} or "", so these count as missing.
    if not isinstance(to, list) or not to or not all(_is_party(party) for party in to):
        raise Problem(400, "The field to must be a list of parties.", params={"field": "to"})
    if not _is_party(payload.get("from")):
        raise Problem(400, "The field from must be a party.", params={"field": "from"})
    if not isinstance(kind, str) or not kind:
        raise Problem(400, "The field type must be a text.", params={"field": "type"})
    if routing is not None and not (isinstance(routing, dict) and isinstance(routing.get("queueId"), str)):
        raise Problem(400, "The field routing must carry a queueId.", params={"field": "routing"})


def _attributes(payload: JSONObject) -> JSONObject:
    attributes = payload.get("attributes")
    if attributes is None:
        return {}
    if not isinstance(attributes, dict):
        raise Problem(400, "The field attributes must be an object.", params={"field": "attributes"})
    if len(compact(attributes)) > MAX_ATTRIBUTE_BYTES:
        reason = f"The attributes are larger than {MAX_ATTRIBUTE_BYTES} bytes."
        raise Problem(400, reason, params={"field": "attributes", "limit": str(MAX_ATTRIBUTE_BYTES)})
    return attributes


def _is_party(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value.get("id") or value.get("name"))
        and all(isinstance(value.get(name, ""), str) for name in ("id", "name"))
    )
