"""The analytics record of a conversation, as queries and jobs return it."""

from collections.abc import Iterator
from datetime import datetime

from crm_sync import clock
from crm_sync.sandbox import disconnects
from crm_sync.sandbox.platform_conversations import (
    Channel,
    Flow,
    Participant,
    PlatformConversation,
    Segment,
    Session,
    milliseconds_between,
)
from crm_sync.sandbox.wire import JSONObject, instant_text, known


def record_of(conversation: PlatformConversation, *, with_attributes: bool = False) -> JSONObject:
    """Return the record. Only jobs tell attributes, and only those that were set before the end."""
    channel = conversation.channel
    return known(
        {
            "conversationId": conversation.id,
            "conversationStart": clock.to_text(conversation.started_at),
            "conversationEnd": instant_text(conversation.ended_at),
            "conversationInitiator": conversation.initiator,
            "originatingDirection": channel.direction,
            "divisionIds": list(conversation.division_ids),
            "selfServed": conversation.self_served,
            "participants": [
                _participant(one, conversation, with_attributes=with_attributes) for one in conversation.participants
            ],
        }
    )


def _participant(participant: Participant, conversation: PlatformConversation, *, with_attributes: bool) -> JSONObject:
    is_customer = participant.purpose == "customer"
    end = conversation.ended_at
    kept = [one.values for one in participant.attributes if end is None or one.set_at <= end]
    return known(
        {
            "participantId": participant.id,
            "participantName": participant.name,
            "purpose": participant.purpose,
            "userId": participant.user_id,
            "externalContactId": conversation.external_contact_id if is_customer else None,
            "attributes": dict(kept[-1]) if kept and with_attributes else None,
            "sessions": [_session(one, participant, conversation.channel) for one in participant.sessions],
        }
    )


def _session(session: Session, participant: Participant, channel: Channel) -> JSONObject:
    is_call = channel.media in ("voice", "callback")
    return known(
        {
            "sessionId": session.id,
            "mediaType": channel.media,
            "messageType": channel.message_type,
            "direction": channel.direction,
            "provider": channel.provider,
            "ani": channel.sender if is_call else None,
            "dnis": channel.recipient if is_call else None,
            "addressFrom": None if is_call else channel.sender,
            "addressTo": None if is_call else channel.recipient,
            "callbackUserName": channel.callback_name,
            "callbackNumbers": list(channel.callback_numbers) or None,
            "flow": session.flow and _flow(session.flow),
            "metrics": list(_metrics(session, participant.purpose)),
            "segments": [_segment(one, session.queue_id) for one in session.segments],
        }
    )


def _segment(segment: Segment, queue_id: str | None) -> JSONObject:
    return known(
        {
            "segmentType": segment.kind,
            "segmentStart": clock.to_text(segment.started_at),
            "segmentEnd": instant_text(segment.ended_at),
            "disconnectType": segment.disconnect and disconnects.in_records(segment.disconnect),
            "queueId": queue_id,
            "wrapUpCode": segment.wrapup_code,
            "wrapUpNote": segment.wrapup_note,
            "conference": False,
        }
    )


def _flow(flow: Flow) -> JSONObject:
    outcomes = [
        {
            "flowOutcome": f"{outcome.id}:{outcome.value}",
            "flowOutcomeId": outcome.id,
            "flowOutcomeValue": outcome.value,
            "flowOutcomeStartTimestamp": clock.to_text(outcome.started_at),
            "flowOutcomeEndTimestamp": clock.to_text(outcome.ended_at),
        }
        for outcome in flow.outcomes
    ]
    return known(
        {
            "flowId": flow.id,
            "flowName": flow.name,
            "flowType": flow.type,
            "flowVersion": flow.version,
            "entryReason": flow.name,
            "exitReason": flow.exit_reason,
            "transferType": flow.transfer_type,
            "outcomes": outcomes or None,
        }
    )


def _metrics(session: Session, purpose: str) -> Iterator[JSONObject]:
    """Tell counts and milliseconds, each when it is known: a handle time only after the after-call work."""
    ended_at = session.ended_at
    if flow := session.flow:
        yield _metric("nFlow", 1, session.started_at)
        for outcome in flow.outcomes:
            yield _metric("nFlowOutcome", 1, outcome.ended_at)
            if outcome.value == "FAILURE":
                yield _metric("nFlowOutcomeFailed", 1, outcome.ended_at)
        if ended_at is not None:
            yield _metric("tFlow", milliseconds_between(session.started_at, ended_at), ended_at)
    if purpose == "acd" and ended_at is not None:
        waited = milliseconds_between(session.started_at, ended_at)
        yield _metric("tAcd", waited, ended_at)
        if session.answered_by is None:
            yield _metric("tAbandon", waited, ended_at)
    if purpose == "agent" and ended_at is not None and session.milliseconds("interact"):
        last = session.segments[-1].ended_at or ended_at
        parts = {
            "tTalkComplete": session.milliseconds("interact"),
            "tHeldComplete": session.milliseconds("hold"),
            "tAcw": session.milliseconds("wrapup"),
        }
        yield _metric("tHandle", sum(parts.values()), last)
        for name, value in parts.items():
            if value:
                yield _metric(name, value, last if name == "tAcw" else ended_at)


def _metric(name: str, value: int, at: datetime) -> JSONObject:
    return {"name": name, "value": value, "emitDate": clock.to_text(at)}
