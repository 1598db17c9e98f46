"""The records of the pretend CRM, and every effect that a push had on them."""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from crm_sync import clock
from crm_sync.sandbox.wire import JSONObject

EFFECTIVE = ("created", "updated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the CRM holds of one conversation."""

    id: str
    conversation_id: str
    version: int | None
    data: JSONObject = field(repr=False)

    def as_object(self) -> JSONObject:
        return {
            "id": self.id,
            "conversation_id": self.conversation_id,
            "version": self.version,
            "data": self.data,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one push did: created, updated, unchanged or skipped; dropped where `told`, the answer, said more."""

    at: datetime
    push_key: str
    conversation_id: str
    version: int | None
    outcome: str
    told: str
    record_id: str

    def as_object(self) -> JSONObject:
        return {
            "at": clock.to_text(self.at),
            "push_key": self.push_key,
            "conversation_id": self.conversation_id,
            "version": self.version,
            "outcome": self.outcome,
            "effective": self.outcome in EFFECTIVE,
            "record_id": self.record_id,
        }


class Records:
    """Records by conversation id. A push key takes effect once, and an older version never replaces a newer one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_conversation: dict[str, Record] = {}
        self._seen: set[str] = set()
        self._effects: list[Effect] = []

    def apply(self, push_key: str, data: JSONObject, *, at: datetime, stored: JSONObject | None) -> Effect:
        """Take in a push.

        `stored` is what is really kept: the data themselves, others where they are to be altered, or None where they
        are to be dropped behind the sender's back.
        """
        conversation_id, version = data["conversation_id"], data.get("version")
        with self._lock:
            known = self._by_conversation.get(conversation_id)
            outcome = self._judge(push_key, data, known)
            record_id = known.id if known else f"CRM-{len(self._by_conversation) + 1:06d}"
            done = outcome
            if outcome in EFFECTIVE and stored is None:
                done = "dropped"
            elif outcome in EFFECTIVE and stored is not None:
                self._by_conversation[conversation_id] = Record(
                    id=record_id, conversation_id=conversation_id, version=version, data=stored
                )
            if done != "dropped":
                self._seen.add(push_key)
            effect = Effect(
                at=at,
                push_key=push_key,
                conversation_id=conversation_id,
                version=version,
                outcome=done,
                told=outcome,
                record_id=record_id,
            )
            self._effects.append(effect)
        return effect

    def get(self, conversation_id: str) -> Record | None:
        with self._lock:
            return self._by_conversation.get(conversation_id)

    def all(self) -> list[Record]:
        with self._lock:
            return list(self._by_conversation.values())

    def effects(self) -> list[Effect]:
        with self._lock:
            return list(self._effects)

    def _judge(self, push_key: str, data: JSONObject, known: Record | None) -> str:
        if push_key in self._seen:
            return "unchanged"
        if known is None:
            return "created"
        version = data.get("version")
        if version is not None and known.version is not None and version < known.version:
            return "skipped"
        return "unchanged" if data == known.data else "updated"
