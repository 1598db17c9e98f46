"""Every push that arrived at the pretend CRM, whatever came of it, in the order of arrival."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from crm_sync.sandbox.crm_records import EFFECTIVE
from crm_sync.sandbox.wire import JSONObject


@dataclass(slots=True, kw_only=True)
class Push:
    """One push: under way until `answered_at` is set, and without a status for ever when its answer was lost."""

    number: int
    arrived_at: datetime
    push_key: str | None
    conversation_id: str | None = None
    version: int | None = None
    outcome: str | None = None
    is_lost: bool = False
    answered_at: datetime | None = None
    status: int | None = None

    def as_object(self) -> JSONObject:
        return {
            "number": self.number,
            "arrived_at": _to_text(self.arrived_at),
            "answered_at": _to_text(self.answered_at) if self.answered_at else None,
            "push_key": self.push_key,
            "conversation_id": self.conversation_id,
            "version": self.version,
            "status": self.status,
            "outcome": self.outcome,
            "effective": self.outcome in EFFECTIVE,
        }


class Pushes:
    """Pushes numbered from 1. What is not known of one yet is filled in as it becomes known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pushes: list[Push] = []
        self._answered = 0

    def arrive(self, push_key: str | None, *, at: datetime) -> Push:
        """Note that a push has arrived, authentic or not."""
        with self._lock:
            push = Push(number=len(self._pushes) + 1, arrived_at=at, push_key=push_key)
            self._pushes.append(push)
        return push

    def answer(self, push: Push, *, status: int, at: datetime) -> None:
        """Note how a push is answered; what the answer says is nobody's to know when it is lost."""
        with self._lock:
            push.status = None if push.is_lost else status
            push.answered_at = at
            self._answered += 1

    def page(self, *, after: int, limit: int) -> JSONObject:
        """Return the pushes behind the one of this number, and how many there are in all and under way."""
        with self._lock:
            found = [push.as_object() for push in self._pushes[after : after + limit]]
            total = len(self._pushes)
            return {"pushes": found, "total": total, "under_way": total - self._answered}


def _to_text(instant: datetime) -> str:
    # In microseconds, unlike all other instants: whether two pushes overlapped is read from these.
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
