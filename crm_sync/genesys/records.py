"""What an analytics record adds: the platform's, with participants, sessions and segments, or the tutorial's row.

A record tells of what happened when it happened, so that its facts count like those of the events it stands for.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from crm_sync import clock
from crm_sync.closure import ATTRIBUTES, CONVERSATION, Facts
from crm_sync.genesys import fields, legs
from crm_sync.genesys.details import TRANSFERS, FactSheet, addresses, disconnect_word, worked
from crm_sync.genesys.payload import Unreadable

KIND = "record"
RANK = 3


def is_row(data: Mapping[str, Any]) -> bool:
    """Tell whether this is a row of the tutorial's query, which has the times of a conversation and no participants."""
    return "startTime" in data and "participants" not in data


def newest_instant(data: Mapping[str, Any], *, not_after: datetime) -> datetime:
    """Return the newest time inside, which is when the record is known to have been true."""
    names = ("startTime", "endTime") if is_row(data) else ("conversationStart", "conversationEnd")
    times = [fields.instant(data, name, not_after=not_after) for name in names]
    for _, session in _sessions(data):
        for segment in legs.objects(session, "segments"):
            times += [fields.instant(segment, name, not_after=not_after) for name in ("segmentStart", "segmentEnd")]
    known = [time for time in times if time is not None]
    if not known:
        raise Unreadable("the record of a conversation has no time")
    return max(known)


def ending(data: Mapping[str, Any], *, not_after: datetime) -> tuple[str, datetime] | None:
    """Return which conversation this record is of and when it ended, None while it has not or cannot be read."""
    try:
        conversation_id = fields.identifier(data, "conversationId")
        ended_at = fields.instant(data, "endTime" if is_row(data) else "conversationEnd", not_after=not_after)
    except Unreadable:
        return None
    return None if conversation_id is None or ended_at is None else (conversation_id, ended_at)


def facts_of(data: Mapping[str, Any], *, at: datetime, key: str) -> Facts:
    """Return what this record adds; raises `Unreadable` with the name of a field that cannot be read."""
    sheet = FactSheet(at, rank=RANK, kind=KIND, key=key)
    if is_row(data):
        _row(sheet, data, at)
    else:
        _record(sheet, data, at)
    return sheet.facts


def customer_address(data: Mapping[str, Any]) -> str | None:
    """Return the address of the customer's first session, by which the conversation can be found."""
    customer = legs.customers_purpose(data)
    found = (
        addresses(session)[0] for participant, session in _sessions(data) if legs.purpose_of(participant) == customer
    )
    return next(filter(None, found), None)


def _row(sheet: FactSheet, data: Mapping[str, Any], at: datetime) -> None:
    _times(sheet, fields.instant(data, "startTime", not_after=at), fields.instant(data, "endTime", not_after=at))
    sheet.say(CONVERSATION, "resolution_status", fields.text(data, "resolutionStatus"))


def _record(sheet: FactSheet, data: Mapping[str, Any], at: datetime) -> None:
    started_at = fields.instant(data, "conversationStart", not_after=at)
    _times(sheet, started_at, fields.instant(data, "conversationEnd", not_after=at))
    sheet.say(CONVERSATION, "self_served", fields.flag(data, "selfServed"))
    sheet.say(CONVERSATION, "direction", fields.word(data, "originatingDirection", fields.DIRECTIONS))
    sheet.add("division_ids", fields.identifiers(data, "divisionIds"))
    for participant in legs.objects(data, "participants"):
        sheet.add("external_contact_ids", [fields.identifier(participant, "externalContactId")])
        for name, value in fields.mapping(participant, "attributes").items():
            # Analytics cuts them and drops what was set after the end: an event that told one knows better.
            sheet.say(ATTRIBUTES, name, value, at=started_at)
    customer = legs.customers_purpose(data)
    for participant, session in _sessions(data):
        _session(sheet, participant, session, customer, at)


def _times(sheet: FactSheet, started_at: datetime | None, ended_at: datetime | None) -> None:
    if started_at is not None:
        sheet.say_earliest(CONVERSATION, "started_at", clock.to_ms(started_at))
    if ended_at is not None:
        sheet.say(CONVERSATION, "ended_at", clock.to_ms(ended_at))
        sheet.say(CONVERSATION, "record_closed", True)


def _session(
    sheet: FactSheet, participant: Mapping[str, Any], session: Mapping[str, Any], customer: str, at: datetime
) -> None:
    session_id = fields.identifier(session, "sessionId") or fields.identifier(participant, "participantId")
    purpose = legs.purpose_of(participant)
    if session_id is None:
        raise Unreadable("a session of the record has no sessionId")
    scope, segments = f"session:{session_id}", [*legs.objects(session, "segments")]
    theirs, ours = addresses(session)
    for name, value in (
        ("media_type", fields.word(session, "mediaType", fields.MEDIA_TYPES)),
        ("message_type", fields.word(session, "messageType", fields.MESSAGE_TYPES)),
        ("direction", fields.word(session, "direction", fields.DIRECTIONS)),
        ("provider", fields.text(session, "provider")),
        ("customer_address", theirs),
        ("our_address", ours),
    ):
        sheet.say(scope, name, value)
    sheet.add("queue_ids", (fields.identifier(segment, "queueId") for segment in segments))
    if purpose == customer:
        _customer(sheet, scope, segments, at)
    elif purpose in legs.AGENTS:
        _agent(sheet, scope, participant, session, at)
    elif purpose == "acd":
        sheet.say(scope, "role", "acd")
    elif purpose in legs.FLOWS:
        _flow(sheet, scope, session, at)


def _customer(sheet: FactSheet, scope: str, segments: list[Mapping[str, Any]], at: datetime) -> None:
    sheet.say(scope, "role", "customer")
    starts = [start for segment in segments if (start := fields.instant(segment, "segmentStart", not_after=at))]
    if starts:
        # Only the first: a session is resumed by an event, and no segment says that it is more than a hold.
        sheet.say(scope, "opened_at", clock.to_ms(min(starts)), at=min(starts))
        sheet.say_earliest(scope, "started_at", clock.to_ms(min(starts)))
    last = max(segments, key=lambda segment: str(segment.get("segmentStart") or ""), default=None)
    if last is None:
        return
    raw, ended_at = fields.text(last, "disconnectType"), fields.instant(last, "segmentEnd", not_after=at)
    if raw is None or ended_at is None:
        return
    word = disconnect_word(raw)
    if word in TRANSFERS:
        sheet.say(scope, "left_at", clock.to_ms(ended_at), at=ended_at)
        return
    sheet.say(scope, "ended_at", clock.to_ms(ended_at), at=ended_at)
    sheet.say(scope, "disconnect_type", word, at=ended_at)


def _agent(
    sheet: FactSheet, scope: str, participant: Mapping[str, Any], session: Mapping[str, Any], at: datetime
) -> None:
    sheet.say(scope, "role", "agent")
    talked, held, after = (_metric(session, name) for name in ("tTalkComplete", "tHeldComplete", "tAcw"))
    sheet.say(scope, "talk_ms", talked)
    sheet.say(scope, "held_ms", held)
    segments = [*legs.objects(session, "segments")]
    if talked or any(fields.text(segment, "segmentType") in ("interact", "wrapup") for segment in segments):
        worked(sheet, scope, fields.identifier(participant, "userId"))
    for segment in segments:
        code = fields.identifier(segment, "wrapUpCode")
        if code is not None:
            said_at = fields.instant(segment, "segmentEnd", not_after=at) or at
            notes = fields.text(segment, "wrapUpNote", fields.TEXT_LENGTH)
            sheet.say(scope, "wrapup", {"code": code, "notes": notes, "ms": after}, at=said_at)


def _flow(sheet: FactSheet, scope: str, session: Mapping[str, Any], at: datetime) -> None:
    sheet.say(scope, "role", "flow")
    flow = fields.mapping(session, "flow")
    sheet.add("flow_ids", [fields.identifier(flow, "flowId")])
    ended_at = max(
        filter(None, (fields.instant(s, "segmentEnd", not_after=at) for s in legs.objects(session, "segments"))),
        default=at,
    )
    sheet.say(scope, "flow_exit", fields.text(flow, "exitReason"), at=ended_at)
    sheet.say(scope, "flow_transfer", fields.text(flow, "transferType"), at=ended_at)
    for outcome in legs.objects(flow, "outcomes"):
        said_at = fields.instant(outcome, "flowOutcomeEndTimestamp", not_after=at) or ended_at
        sheet.say(scope, "flow_outcome", fields.text(outcome, "flowOutcomeValue"), at=said_at)


def _metric(session: Mapping[str, Any], name: str) -> int | None:
    found = [
        fields.milliseconds(metric, "value")
        for metric in legs.objects(session, "metrics")
        if metric.get("name") == name
    ]
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def _sessions(data: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for participant in legs.objects(data, "participants"):
        for session in legs.objects(participant, "sessions"):
            yield participant, session
