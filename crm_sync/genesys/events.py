"""Turn a body that Genesys Cloud sent, in any of its shapes, into events. Never raises: what cannot be read is kept.

A body is an array of, or one of: an EventBridge envelope, a topic with its event, a bare or flat event, the
tutorial's conversation (bare, or under `conversation`, `data` or `eventBody`), the platform's conversation, a record
of analytics.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from crm_sync import clock
from crm_sync.closure import CONVERSATION, Event, EventStatus, Facts, Person
from crm_sync.genesys import conversations, details, fields, kinds, records
from crm_sync.genesys.payload import REPLACEMENT, Decoded, Unreadable, decode

AHEAD = timedelta(minutes=10)
"""How far an event's time may lie after our receipt."""

_ORGANIZATION = re.compile(r"aws\.partner/genesys\.com/cloud/(?P<id>[^/]+)/")
_WRAPPERS = ("conversation", "data", "eventBody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known of a body beside its bytes: how and when it came, and whose it may only be (None: anybody's)."""

    source: str
    received_at: datetime
    organization_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An event's own object, taken out of what it was wrapped in."""

    data: Mapping[str, Any]
    kind: str | None = None
    topic_id: str | None = None
    organization_id: str | None = None
    trace_id: str | None = None


def parse(body: bytes, context: Context) -> tuple[list[Event], bool]:
    """Return the events of a body, in its order, and whether it was an array of them."""
    try:
        decoded = decode(body)
    except Unreadable as error:
        return [_kept(body, context, EventStatus.QUARANTINED, str(error))], False
    if isinstance(decoded.value, list):
        elements = zip(decoded.raw, decoded.value, strict=True)
        return [_parse_one(_dump(raw), value, decoded, context) for raw, value in elements], True
    return [_parse_one(body, decoded.value, decoded, context)], False


def _parse_one(body: bytes, value: Any, decoded: Decoded, context: Context) -> Event:
    try:
        found = _find(value)
        if found is None:
            return _kept(body, context, EventStatus.IGNORED, "not an event that tells of a conversation")
        if not _is_ours(found.organization_id, context.organization_id):
            raise Unreadable("the event is of another organization")
        return _event(body, found, decoded, context)
    except Unreadable as error:
        return _kept(body, context, EventStatus.QUARANTINED, str(error))


def _is_ours(organization_id: str | None, only: str | None) -> bool:
    return organization_id is None or only is None or organization_id.lower() == only.lower()


def _find(value: Any) -> _Found | None:
    match value:
        case {"detail-type": str(topic), "detail": dict(detail)}:
            return _unwrap(value, topic, detail)
        case {"topicName": str(topic), "eventBody": dict(data)} if named := kinds.of_topic(topic):
            return _Found(data=data, kind=named[1], topic_id=named[0])
        case {"detail-type": str(topic), "detail": _} if kinds.of_topic(topic):
            raise Unreadable("detail is not an object")
        case {"topicName": str(topic), "eventBody": _} if kinds.of_topic(topic):
            raise Unreadable("eventBody is not an object")
        case {"conversationId": _, "eventTime": _}:
            named = kinds.of_topic(fields.text(value, "topicName", 1000) or "")
            return _Found(data=value, kind=named[1] if named else None, topic_id=named[0] if named else None)
        case {"conversationId": _, "conversationStart": _} | {"conversationId": _, "startTime": _}:
            return _Found(data=value, kind=records.KIND)
        case {"eventTime": _, "participantId": _} | {"eventTime": _, "sessionId": _}:
            raise Unreadable("an event without conversationId")
        case {"conversationId": _, "participantId": _} | {"conversationId": _, "sessionId": _}:
            raise Unreadable("an event without eventTime")
        case {"id": _, "participants": _} | {"id": _, "state": _} | {"id": _, "endTime": _}:
            return _Found(data=value, kind="conversation")
        case dict():
            wrapped = (value.get(name) for name in _WRAPPERS)
            return next(filter(None, (_find(inner) for inner in wrapped if isinstance(inner, dict))), None)
    return None


def _unwrap(envelope: Mapping[str, Any], topic: str, detail: dict[str, Any]) -> _Found | None:
    """Return what an EventBridge envelope holds. Its own id and time are the delivery's, not the event's."""
    inner = _find(detail)
    if inner is None:
        return None
    named = kinds.of_topic(topic)
    owner = _ORGANIZATION.match(fields.text(envelope, "source", 1000) or "")
    return replace(
        inner,
        kind=inner.kind or (named[1] if named else None),
        organization_id=fields.identifier({"source": owner["id"]}, "source") if owner else None,
        trace_id=fields.text(envelope, "id"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What was read of an event: of which conversation, when, and what it adds; None for facts that nobody reads."""

    conversation_id: str
    kind: str
    at: datetime
    key: str
    facts: Facts | None
    address: str | None = None


def _event(body: bytes, found: _Found, decoded: Decoded, context: Context) -> Event:
    not_after = context.received_at + AHEAD
    match found.kind:
        case "conversation":
            reading = _read_conversation(found, not_after)
        case records.KIND:
            reading = _read_record(found, not_after)
        case _:
            reading = _read_detail(found, not_after)
    if reading.facts is None:
        reason = f"nothing is read from {reading.kind[:100]}"
        return _kept(body, context, EventStatus.IGNORED, reason, reading.conversation_id)
    return Event(
        dedupe_key=reading.key,
        status=EventStatus.ACCEPTED,
        kind=reading.kind,
        body=body,
        source=context.source,
        received_at=context.received_at,
        conversation_id=reading.conversation_id,
        organization_id=found.organization_id or context.organization_id,
        occurred_at=reading.at,
        trace_id=found.trace_id,
        facts=_with_circumstances(reading.facts, context, altered=_is_altered(found, decoded)),
        people=_people(reading.facts, reading.address),
    )


def _read_detail(found: _Found, not_after: datetime) -> _Reading:
    data = found.data
    conversation_id = fields.identifier(data, "conversationId")
    if conversation_id is None:
        raise Unreadable("an event without conversationId")
    if found.topic_id not in (None, "{id}") and str(found.topic_id).lower() != conversation_id.lower():
        raise Unreadable("the topic names another conversation than the event")
    at = fields.instant(data, "eventTime", not_after=not_after)
    if at is None:
        raise Unreadable("an event without eventTime")
    kind = found.kind or kinds.of_keys(data)
    key = _business_key(conversation_id, kind, data, at)
    facts = details.facts_of(kind, data, at=at, key=key) if kind in kinds.MERGED else None
    address = details.addresses(data)[0] if facts is not None else None
    return _Reading(conversation_id=conversation_id, kind=kind, at=at, key=key, facts=facts, address=address)


def _read_conversation(found: _Found, not_after: datetime) -> _Reading:
    conversation_id = fields.identifier(found.data, "id")
    if conversation_id is None:
        raise Unreadable("a conversation without id")
    at = conversations.newest_instant(found.data, not_after=not_after)
    key = _whole_key(conversation_id, "conversation", found.data)
    return _Reading(
        conversation_id=conversation_id,
        kind="conversation",
        at=at,
        key=key,
        facts=conversations.facts_of(found.data, at=at, key=key),
        address=conversations.customer_id(found.data),
    )


def _read_record(found: _Found, not_after: datetime) -> _Reading:
    conversation_id = fields.identifier(found.data, "conversationId")
    if conversation_id is None:
        raise Unreadable("a record without conversationId")
    at = records.newest_instant(found.data, not_after=not_after)
    key = _whole_key(conversation_id, records.KIND, found.data)
    facts = records.facts_of(found.data, at=at, key=key)
    address = records.customer_address(found.data)
    return _Reading(conversation_id=conversation_id, kind=records.KIND, at=at, key=key, facts=facts, address=address)


def _whole_key(conversation_id: str, shape: str, data: Mapping[str, Any]) -> str:
    return f"{conversation_id}/{shape}/{hashlib.sha256(_canonical(data)).hexdigest()}"


def _business_key(conversation_id: str, kind: str, data: Mapping[str, Any], at: datetime) -> str:
    """Return what two notifications of one event have in common; the envelope's id is not among it.

    AWS keeps the envelope's id when it redelivers, but a second publication by Genesys need not.
    """
    leg = fields.identifier(data, "sessionId") or fields.identifier(data, "participantId") or ""
    key = f"{conversation_id}/{kind}/{leg}/{clock.to_ms(at)}"
    if kind == "flow.outcome":
        # A flow may note several outcomes at one instant.
        key += f"/{fields.identifier(data, 'flowOutcomeId') or ''}"
    if kind == "attributes":
        key += "/" + hashlib.sha256(_canonical(fields.mapping(data, "attributes"))).hexdigest()[:32]
    return key


def _is_altered(found: _Found, decoded: Decoded) -> bool:
    """Tell whether the event's own text was altered, not only that of its envelope or of its neighbour in an array."""
    return decoded.altered and REPLACEMENT in _canonical(found.data).decode()


def _with_circumstances(facts: Facts, context: Context, *, altered: bool) -> Facts:
    """Add what surrounds the event: whose it may only be, and whether its text had to be altered.

    The organization that an envelope names is not among it: the same event comes bare, too, and which of the two
    arrived first must not show in the closure.
    """
    about: dict[str, Any] = {}
    if context.organization_id is not None:
        about["organization_id"] = ["", context.organization_id]
    if altered:
        about["text_altered"] = ["", True]
    return {**facts, CONVERSATION: {**facts.get(CONVERSATION, {}), **about}} if about else facts


def _people(facts: Facts, address: str | None) -> tuple[Person, ...]:
    people = {Person(kind="contact", value=contact) for contact in facts.get("+external_contact_ids", {})}
    # An index entry holds no more. A longer one is found by no search, yet still stands in the closure.
    if address is not None and len((person := _person(address)).value) <= fields.PERSON_LENGTH:
        people.add(person)
    return tuple(sorted(people, key=lambda person: (person.kind, person.value)))


def _person(address: str) -> Person:
    digits = re.sub(r"[\s().-]", "", address)
    if re.fullmatch(r"\+?[0-9]{7,15}", digits):
        return Person(kind="phone", value=digits)
    if "@" in address:
        return Person(kind="email", value=address.casefold())
    return Person(kind="address", value=address)


def _kept(body: bytes, context: Context, status: EventStatus, reason: str, conversation_id: str | None = None) -> Event:
    """Return an event that is stored as it came, and changes nothing."""
    return Event(
        dedupe_key=f"body/{hashlib.sha256(body).hexdigest()}",
        status=status,
        kind="unknown",
        reason=reason,
        body=body,
        source=context.source,
        received_at=context.received_at,
        conversation_id=conversation_id,
    )


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
