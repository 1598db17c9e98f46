"""What one detail event (`v2.detail.events.conversation.{id}.KIND`) adds to the facts of its conversation."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from crm_sync import clock
from crm_sync.closure import ATTRIBUTES, JSON, Facts, stamp
from crm_sync.genesys import fields

RANK = 1

TRANSFERS = frozenset(
    ("transfer", "conference_transfer", "consult_transfer", "forward_transfer", "no_answer_transfer",
     "not_available_transfer", "dnd_transfer", "takeover")
)  # fmt: skip
_DISCONNECTS = {
    word.replace("_", ""): word
    for word in (
        *TRANSFERS,
        "client",
        "endpoint",
        "peer",
        "system",
        "timeout",
        "error",
        "other",
        "spam",
        "uncallable",
        "inactivity",
        "dnd_endpoint",
        "transport_failure",
        "session_expired",
    )
}


class FactSheet:
    """Collects what one source says; every fact carries the same rank, kind and key, and the same instant unless told.

    A record of a whole conversation says of what happened when it did, so that it counts like the event that told it.
    """

    def __init__(self, at: datetime, *, rank: int, kind: str, key: str) -> None:
        self.facts: Facts = {}
        self.at_ms = clock.to_ms(at)
        self._stamp = partial(stamp, rank=rank, kind=kind, key=key)
        self._newest = self._stamp(at)

    def say(self, scope: str, name: str, value: JSON, *, at: datetime | None = None) -> None:
        """Note a fact, unless the value is unknown. Of two that are said of one thing the newer one holds."""
        if value is None:
            return
        mark = self._newest if at is None else self._stamp(at)
        said = self.facts.setdefault(scope, {})
        if name not in said or said[name][0] <= mark:
            said[name] = [mark, value]

    def say_earliest(self, scope: str, name: str, instant_ms: int) -> None:
        """Note an instant of which the earliest holds, whenever it was said."""
        earliest = self._stamp(clock.from_ms(instant_ms), earliest=True)
        self.facts.setdefault(scope, {})[name] = [earliest, instant_ms]

    def add(self, members: str, values: Iterable[str | None]) -> None:
        """Add members to a set. All carry one stamp, since a set only unites."""
        for value in values:
            if value is not None:
                self.facts.setdefault(f"+{members}", {})[value] = ["", True]


def facts_of(kind: str, data: Mapping[str, Any], *, at: datetime, key: str) -> Facts:
    """Return what this event adds; raises `Unreadable` with the name of a field that cannot be read."""
    sheet = FactSheet(at, rank=RANK, kind=kind, key=key)
    # Without an id, events of one side at least are kept together.
    side = kind.partition(".")[0]
    session = fields.identifier(data, "sessionId") or fields.identifier(data, "participantId") or side
    scope = f"session:{session}"
    _common(sheet, scope, data)
    _KINDS[kind](sheet, scope, data)
    return sheet.facts


def disconnect_word(raw: str) -> str:
    """Return our one spelling of a disconnect type, of which the platform has three; `unknown` for a new word."""
    letters = "".join(letter for letter in raw.lower() if letter.isalpha()).replace("donotdisturb", "dnd")
    for head in ("transfer", "endpoint"):
        if letters.startswith(head) and letters != head:
            letters = letters.removeprefix(head) + head
    return _DISCONNECTS.get(letters, "unknown")


def addresses(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the customer's address and ours: who is on which side depends on who began."""
    theirs = _address(data, "addressFrom") or _address(data, "ani")
    ours = _address(data, "addressTo") or _address(data, "dnis")
    is_outbound = fields.word(data, "direction", fields.DIRECTIONS) == "outbound"
    return (ours, theirs) if is_outbound else (theirs, ours)


def _address(data: Mapping[str, Any], name: str) -> str | None:
    value = fields.text(data, name, fields.ADDRESS_LENGTH)
    return (value or "").removeprefix("tel:") or None


def _common(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    theirs, ours = addresses(data)
    sheet.say(scope, "media_type", fields.word(data, "mediaType", fields.MEDIA_TYPES))
    sheet.say(scope, "message_type", fields.word(data, "messageType", fields.MESSAGE_TYPES))
    sheet.say(scope, "direction", fields.word(data, "direction", fields.DIRECTIONS))
    sheet.say(scope, "provider", fields.text(data, "provider"))
    sheet.say(scope, "customer_address", theirs)
    sheet.say(scope, "our_address", ours)
    sheet.add("division_ids", [fields.identifier(data, "divisionId")])
    sheet.add("external_contact_ids", fields.identifiers(data, "conversationExternalContactIds"))
    sheet.add("external_contact_ids", [fields.identifier(data, "externalContactId")])
    sheet.add("external_organization_ids", fields.identifiers(data, "conversationExternalOrganizationIds"))
    sheet.add("external_organization_ids", [fields.identifier(data, "externalOrganizationId")])


def _customer_start(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "customer")
    sheet.say(scope, "opened_at", sheet.at_ms)
    sheet.say_earliest(scope, "started_at", sheet.at_ms)


def _customer_end(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "customer")
    raw = fields.text(data, "disconnectType")
    word = disconnect_word(raw) if raw is not None else None
    if word in TRANSFERS:
        # The customer was handed on: this leg is left, and that is not where the conversation ends.
        sheet.say(scope, "left_at", sheet.at_ms)
        return
    sheet.say(scope, "ended_at", sheet.at_ms)
    sheet.say(scope, "disconnect_type", word)


def _user_start(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "agent")


def _user_end(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "agent")
    talked = fields.milliseconds(data, "interactingDurationMs")
    sheet.say(scope, "talk_ms", talked)
    sheet.say(scope, "held_ms", fields.milliseconds(data, "heldDurationMs"))
    sheet.add("queue_ids", [fields.identifier(data, "queueId")])
    user_id = fields.identifier(data, "userId")
    if talked != 0:  # An alert that nobody took ends too, with 0.
        worked(sheet, scope, user_id)


def _acd(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "acd")
    sheet.add("queue_ids", [fields.identifier(data, "queueId")])
    outcome = fields.text(data, "acdOutcome")
    sheet.say(scope, "acd_outcome", outcome)
    if outcome == "ANSWERED":
        worked(sheet, scope, fields.identifier(data, "answeredUserId"))


def _wrapup(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "agent")
    sheet.add("queue_ids", [fields.identifier(data, "queueId")])
    worked(sheet, scope, fields.identifier(data, "userId"))
    if (code := fields.identifier(data, "wrapupCode")) is not None:
        notes = fields.text(data, "wrapupNotes", fields.TEXT_LENGTH)
        took = fields.milliseconds(data, "wrapupDurationMs")
        sheet.say(scope, "wrapup", {"code": code, "notes": notes, "ms": took})


def _flow(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    sheet.say(scope, "role", "flow")
    sheet.add("flow_ids", [fields.identifier(data, "flowId")])
    sheet.say(scope, "flow_exit", fields.text(data, "exitReason"))
    sheet.say(scope, "flow_transfer", fields.text(data, "transferType"))


def _flow_outcome(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    _flow(sheet, scope, data)
    sheet.say(scope, "flow_outcome", fields.text(data, "flowOutcomeValue"))


def _attributes(sheet: FactSheet, scope: str, data: Mapping[str, Any]) -> None:
    for name, value in fields.mapping(data, "attributes").items():
        sheet.say(ATTRIBUTES, name, value)


def worked(sheet: FactSheet, scope: str, user_id: str | None) -> None:
    """Note that an agent took part."""
    sheet.say(scope, "worked", True)
    sheet.add("agent_ids", [user_id])


_KINDS: Mapping[str, Callable[[FactSheet, str, Mapping[str, Any]], None]] = {
    "customer.start": _customer_start,
    "customer.end": _customer_end,
    "user.start": _user_start,
    "user.end": _user_end,
    "acd.start": _acd,
    "acd.end": _acd,
    "acw": _wrapup,
    "wrapup": _wrapup,
    "attributes": _attributes,
    "flow.start": _flow,
    "flow.end": _flow,
    "flow.outcome": _flow_outcome,
}
