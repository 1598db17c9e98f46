"""The participants of the platform's conversation object, each with its legs: calls, chats, messages and so on.

A leg's id is the session id of the detail events, so what both tell meets in one place.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from crm_sync import clock
from crm_sync.closure import ATTRIBUTES, JSON
from crm_sync.genesys import fields
from crm_sync.genesys.details import TRANSFERS, FactSheet, disconnect_word, worked
from crm_sync.genesys.payload import Unreadable

AGENTS = frozenset(("agent", "user"))
FLOWS = frozenset(("ivr", "botflow", "workflow"))

_MEDIA = {
    "calls": "voice",
    "callbacks": "callback",
    "chats": "chat",
    "emails": "email",
    "messages": "message",
    "internalMessages": "internalmessage",
    "videos": "video",
}


def objects(data: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Return the objects of a list, none when it is absent."""
    values = data.get(name)
    if values is None:
        return
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise Unreadable(f"{name} is not a list of objects")
    yield from values


def purpose_of(participant: Mapping[str, Any]) -> str:
    """Return what a participant is there for, in lower case."""
    return (fields.text(participant, "purpose") or "").lower()


def customers_purpose(data: Mapping[str, Any]) -> str:
    """Return what the customer's participants are called: on a call that no queue has seen, `external`."""
    purposes = {purpose_of(participant) for participant in objects(data, "participants")}
    return "customer" if "customer" in purposes else "external"


def parts(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return all that has times of its own: the participants, their legs, and their wrap-ups."""
    for participant in objects(data, "participants"):
        yield participant
        yield fields.mapping(participant, "wrapup")
        for _, leg in _legs(participant):
            yield leg
            yield fields.mapping(leg, "wrapup")


def participants(sheet: FactSheet, data: Mapping[str, Any], *, at: datetime) -> None:
    """Note what the participants of a conversation object tell."""
    customer = customers_purpose(data)
    for participant in objects(data, "participants"):
        sheet.add("external_contact_ids", [fields.identifier(participant, "externalContactId")])
        sheet.add("external_organization_ids", [fields.identifier(participant, "externalOrganizationId")])
        sheet.add("queue_ids", [fields.identifier(participant, "queueId")])
        for name, value in fields.mapping(participant, "attributes").items():
            sheet.say(ATTRIBUTES, name, value)
        for medium, leg in _legs(participant):
            _leg(sheet, participant, leg, medium=medium, customer=customer, at=at)


def _legs(participant: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, medium in _MEDIA.items():
        for leg in objects(participant, name):
            yield medium, leg


def _leg(
    sheet: FactSheet,
    participant: Mapping[str, Any],
    leg: Mapping[str, Any],
    *,
    medium: str,
    customer: str,
    at: datetime,
) -> None:
    leg_id = fields.identifier(leg, "id") or fields.identifier(participant, "id")
    if leg_id is None:
        raise Unreadable("a participant of the conversation has no id")
    scope, purpose = f"session:{leg_id}", purpose_of(participant)
    sheet.say(scope, "media_type", medium)
    sheet.say(scope, "message_type", fields.word(leg, "type", fields.MESSAGE_TYPES) if medium == "message" else None)
    sheet.say(scope, "direction", fields.word(leg, "direction", fields.DIRECTIONS))
    sheet.say(scope, "provider", fields.text(leg, "provider"))
    if purpose == customer:
        _customer(sheet, scope, leg, at)
    elif purpose in AGENTS:
        _agent(sheet, scope, participant, leg, at)
    elif purpose in FLOWS:
        sheet.say(scope, "role", "flow")
    elif purpose == "acd":
        sheet.say(scope, "role", "acd")


def _customer(sheet: FactSheet, scope: str, leg: Mapping[str, Any], at: datetime) -> None:
    opened_at = fields.instant(leg, "connectedTime", not_after=at)
    ended_at = fields.instant(leg, "disconnectedTime", not_after=at)
    raw = fields.text(leg, "disconnectType")
    sheet.say(scope, "role", "customer")
    if opened_at is not None:
        sheet.say(scope, "opened_at", clock.to_ms(opened_at), at=opened_at)
        sheet.say_earliest(scope, "started_at", clock.to_ms(opened_at))
    if ended_at is None:
        return
    word = disconnect_word(raw) if raw is not None else None
    if word in TRANSFERS:
        sheet.say(scope, "left_at", clock.to_ms(ended_at), at=ended_at)
        return
    sheet.say(scope, "ended_at", clock.to_ms(ended_at), at=ended_at)
    sheet.say(scope, "disconnect_type", word, at=ended_at)


def _agent(sheet: FactSheet, scope: str, participant: Mapping[str, Any], leg: Mapping[str, Any], at: datetime) -> None:
    sheet.say(scope, "role", "agent")
    # Also one who was alerted and never answered is listed, without a time of connection.
    if leg.get("connectedTime") is not None:
        worked(sheet, scope, fields.identifier(participant, "userId"))
    wrapup = fields.mapping(participant, "wrapup") or fields.mapping(leg, "wrapup")
    code = fields.identifier(wrapup, "code")
    if code is None:
        return
    worked(sheet, scope, fields.identifier(participant, "userId"))
    seconds = fields.milliseconds(wrapup, "durationSeconds")
    said: dict[str, JSON] = {
        "code": code,
        "notes": fields.text(wrapup, "notes", fields.TEXT_LENGTH),
        "ms": None if seconds is None else seconds * 1000,
    }
    if fields.flag(wrapup, "provisional"):
        said["provisional"] = True
    sheet.say(scope, "wrapup", said, at=fields.instant(wrapup, "endTime", not_after=at))
