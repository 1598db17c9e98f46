"""The values at the centre. An Event adds Facts; the facts of a conversation, merged, give its Closure.

Merging is commutative, associative and idempotent, and a closure is a function of its facts alone. So the order in
which events arrive, and how often, cannot matter. Nothing here does input or output, and nothing asks the time.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias, cast

from crm_sync import clock
from crm_sync.resolution import ResolutionMap, Signals, Status, decide

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

Fact: TypeAlias = list[Any]
"""`[stamp, value]`: of two facts for one field, the one with the larger stamp holds."""

Facts: TypeAlias = dict[str, dict[str, Fact]]
"""scope -> field -> fact, as stored. Scopes: `""` (the conversation), `session:ID`, `attributes`, `+NAME` (a set)."""

CONVERSATION = ""
ATTRIBUTES = "attributes"

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_YEAR_ONE_MS = 62_135_596_800_000
_LAST_MS = 10**15 - 1


class EventStatus(StrEnum):
    """What became of an event: stored and merged, met again, stored to be looked at, stored and of no interest."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A normalised value by which a person can be found and forgotten: `kind` is phone, email, contact or address."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A notification as it arrived, and what it adds. `facts` are empty unless `status` is accepted."""

    dedupe_key: str
    status: EventStatus
    kind: str
    body: bytes
    source: str
    received_at: datetime
    reason: str | None = None
    conversation_id: str | None = None
    organization_id: str | None = None
    occurred_at: datetime | None = None
    trace_id: str | None = None
    facts: Facts = field(default_factory=dict)
    people: tuple[Person, ...] = ()

    @property
    def event_id(self) -> str:
        """The id by which we name this event: a digest of its dedupe key, so a repetition has the same."""
        digest = hashlib.sha256(self.dedupe_key.encode()).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """What we know of one conversation: that it ended, when, how it was resolved, and for whom.

    `ended_at` is the newest end we know of, also while a reopened conversation is not `closed`. Durations are in
    milliseconds. `awaiting_until` is set while the resolution may still come; passing it changes nothing here.
    """

    conversation_id: str
    organization_id: str | None = None
    closed: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    customer_left_at: datetime | None = None
    awaiting_until: datetime | None = None
    resolution: Status = Status.UNKNOWN
    resolution_source: str | None = None
    resolution_reason: str | None = None
    resolution_final: bool = False
    media_type: str | None = None
    message_type: str | None = None
    direction: str | None = None
    provider: str | None = None
    disconnect_type: str | None = None
    customer_id: str | None = None
    customer_address: str | None = None
    our_address: str | None = None
    wrapup_code: str | None = None
    wrapup_notes: str | None = None
    agent_took_part: bool = False
    duration_ms: int | None = None
    talk_ms: int | None = None
    held_ms: int | None = None
    acw_ms: int | None = None
    agent_ids: tuple[str, ...] = ()
    queue_ids: tuple[str, ...] = ()
    flow_ids: tuple[str, ...] = ()
    bot_ids: tuple[str, ...] = ()
    division_ids: tuple[str, ...] = ()
    external_contact_ids: tuple[str, ...] = ()
    external_organization_ids: tuple[str, ...] = ()
    attributes: Mapping[str, JSON] = field(default_factory=dict)
    text_altered: bool = False

    def as_record(self) -> dict[str, JSON]:
        """Return the closure as JSON values by field name: instants as RFC 3339 text, sets as sorted lists."""
        return {name: _as_json(getattr(self, name)) for name in FIELDS}


FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Closure))
"""The names of a closure's fields: the columns of `closures`, and what a target's mapping may refer to."""


def canonical_id(text: str) -> str:
    """Return an id as we compare it: a UUID in lower case, since systems differ in how they spell one."""
    return text.lower() if is_uuid(text) else text


def is_uuid(text: str) -> bool:
    """Tell whether an id is a UUID, as all of Genesys Cloud's own are."""
    return _UUID.fullmatch(text) is not None


def stamp(at: datetime, *, rank: int, kind: str, key: str, earliest: bool = False) -> str:
    """Return a text that sorts as (instant, source rank, kind, dedupe key).

    With `earliest` the order of the instants is turned round, so that the earliest one holds.
    """
    milliseconds = clock.to_ms(at) + _YEAR_ONE_MS
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return f"{_LAST_MS - milliseconds if earliest else milliseconds:015d}.{rank}.{kind}.{digest}"


def merge(known: Facts, new: Facts) -> Facts:
    """Return the facts of both, leaving both as they are."""
    merged = dict(known)
    for scope, added in new.items():
        here = merged[scope] = dict(merged.get(scope, {}))
        for name, fact in added.items():
            held = here.get(name)
            if held is None or _outweighs(fact, held):
                here[name] = fact
    return merged


def derive(conversation_id: str, facts: Facts, known: ResolutionMap) -> Closure:
    """Return the closure that these facts amount to under this resolution map."""
    sessions = [scoped for scope, scoped in facts.items() if scope.startswith("session:")]
    customers = [session for session in sessions if _value(session, "role") == "customer"]
    conversation = facts.get(CONVERSATION, {})
    attributes = {name: fact[1] for name, fact in sorted(facts.get(ATTRIBUTES, {}).items())}
    wrapup = _newest(sessions, "wrapup") or {}
    left_at = _latest(customers, "ended_at")
    ended_at = max(filter(None, (left_at, _instant(conversation, "ended_at"))), default=None)
    started_at = _earliest([conversation, *customers], "started_at")
    agent_took_part = any(_value(session, "worked") for session in sessions)
    disconnect = _last_disconnect(customers)
    closed = _is_closed(conversation, customers)
    signals = Signals(
        wrapup_code=wrapup.get("code"),
        payload_word=_value(conversation, "resolution_status"),
        attribute_word=_as_word(attributes.get(known.attribute)),
        flow_outcome=_newest(sessions, "flow_outcome"),
        flow_exit=_newest(sessions, "flow_exit"),
        flow_transfer=_newest(sessions, "flow_transfer"),
        acd_outcome=_newest(sessions, "acd_outcome"),
        disconnect=disconnect,
        self_served=bool(_value(conversation, "self_served")),
        queue_reached=any(_value(session, "role") == "acd" for session in sessions),
        agent_took_part=agent_took_part,
        closed=closed,
        wrapup_is_provisional=bool(wrapup.get("provisional")),
    )
    resolution = decide(signals, known)

    def of_customer(name: str) -> Any:
        """Return what the customer's own leg says, else what any other does."""
        told = _newest(customers, name)
        return told if told is not None else _newest([*sessions, conversation], name)

    return Closure(
        conversation_id=conversation_id,
        organization_id=_value(conversation, "organization_id"),
        closed=closed,
        started_at=started_at,
        ended_at=ended_at,
        customer_left_at=left_at,
        awaiting_until=ended_at + known.grace if ended_at and not resolution.is_final else None,
        resolution=resolution.status,
        resolution_source=resolution.source,
        resolution_reason=resolution.reason,
        resolution_final=resolution.is_final,
        media_type=of_customer("media_type"),
        message_type=of_customer("message_type"),
        direction=of_customer("direction"),
        provider=of_customer("provider"),
        disconnect_type=disconnect,
        customer_id=_value(conversation, "customer_id"),
        customer_address=of_customer("customer_address"),
        our_address=of_customer("our_address"),
        wrapup_code=wrapup.get("code"),
        wrapup_notes=wrapup.get("notes"),
        agent_took_part=agent_took_part,
        duration_ms=_duration_ms(started_at, ended_at),
        talk_ms=_sum(_value(session, "talk_ms") for session in sessions),
        held_ms=_sum(_value(session, "held_ms") for session in sessions),
        acw_ms=_sum((_value(session, "wrapup") or {}).get("ms") for session in sessions),
        agent_ids=_members(facts, "agent_ids"),
        queue_ids=_members(facts, "queue_ids"),
        flow_ids=_members(facts, "flow_ids"),
        bot_ids=_members(facts, "bot_ids"),
        division_ids=_members(facts, "division_ids"),
        external_contact_ids=_members(facts, "external_contact_ids"),
        external_organization_ids=_members(facts, "external_organization_ids"),
        attributes=attributes,
        text_altered=bool(_value(conversation, "text_altered")),
    )


def _is_closed(conversation: dict[str, Fact], customers: list[dict[str, Fact]]) -> bool:
    """Over when a customer's session is over and none is open, or when a record newer than every start says so."""
    starts = [_value(session, "opened_at") for session in customers if "opened_at" in session]
    if _value(conversation, "record_closed"):
        said_at = int(conversation["record_closed"][0].split(".", 1)[0]) - _YEAR_ONE_MS
        if all(said_at > start for start in starts):
            return True
    return any(_is_over(session) for session in customers) and not any(_is_open(session) for session in customers)


def _is_over(session: Mapping[str, Fact]) -> bool:
    return "ended_at" in session and bool(_value(session, "ended_at") >= (_value(session, "opened_at") or 0))


def _is_open(session: Mapping[str, Fact]) -> bool:
    """Tell whether a customer is known to be on this leg: one that was left by a transfer is neither open nor over."""
    if "opened_at" not in session or _is_over(session):
        return False
    return bool(_value(session, "opened_at") > (_value(session, "left_at") or 0))


def _last_disconnect(customers: list[dict[str, Fact]]) -> str | None:
    ended = [session for session in customers if "ended_at" in session]
    if not ended:
        return None
    return cast("str | None", _value(max(ended, key=lambda session: str(session["ended_at"][0])), "disconnect_type"))


def _outweighs(fact: Fact, held: Fact) -> bool:
    if fact[0] != held[0]:
        return bool(fact[0] > held[0])
    return _canonical(fact[1]) > _canonical(held[1])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _value(scoped: Mapping[str, Fact], name: str) -> Any:
    fact = scoped.get(name)
    return None if fact is None else fact[1]


def _newest(scopes: Iterable[Mapping[str, Fact]], name: str) -> Any:
    """Return the value of the fact that outweighs the same fact in the other scopes."""
    held: Fact | None = None
    for scoped in scopes:
        fact = scoped.get(name)
        if fact is not None and (held is None or _outweighs(fact, held)):
            held = fact
    return None if held is None else held[1]


def _members(facts: Facts, name: str) -> tuple[str, ...]:
    return tuple(sorted(facts.get(f"+{name}", {})))


def _instant(scoped: Mapping[str, Fact], name: str) -> datetime | None:
    value = _value(scoped, name)
    return None if value is None else clock.from_ms(value)


def _latest(scopes: Iterable[Mapping[str, Fact]], name: str) -> datetime | None:
    return max(_instants(scopes, name), default=None)


def _earliest(scopes: Iterable[Mapping[str, Fact]], name: str) -> datetime | None:
    return min(_instants(scopes, name), default=None)


def _instants(scopes: Iterable[Mapping[str, Fact]], name: str) -> Iterator[datetime]:
    return (instant for scoped in scopes if (instant := _instant(scoped, name)) is not None)


def _duration_ms(started_at: datetime | None, ended_at: datetime | None) -> int | None:
    if started_at is None or ended_at is None or ended_at < started_at:
        return None
    return clock.to_ms(ended_at) - clock.to_ms(started_at)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _as_word(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _as_json(value: Any) -> JSON:
    match value:
        case datetime():
            return clock.to_text(value)
        case tuple():
            return list(value)
        case StrEnum():
            return str(value)
        case Mapping():
            return dict(value)
    return cast(JSON, value)
