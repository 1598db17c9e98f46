"""The conversation object of `GET /api/v2/conversations/{id}`: it ends with the last disconnect, not the wrap-up."""

from datetime import datetime

from crm_sync import clock
from crm_sync.sandbox import disconnects
from crm_sync.sandbox.platform_conversations import (
    Channel,
    Participant,
    PlatformConversation,
    Segment,
    Session,
    milliseconds_between,
)
from crm_sync.sandbox.platform_world import QUEUES, WRAPUP_CODES
from crm_sync.sandbox.wire import JSONObject, instant_text, known

_COMMUNICATIONS = {
    "voice": "calls",
    "chat": "chats",
    "email": "emails",
    "message": "messages",
    "callback": "callbacks",
}


def object_of(conversation: PlatformConversation) -> JSONObject:
    """Return the object, which has no `state` and, while somebody is connected, no `endTime`."""
    return known(
        {
            "id": conversation.id,
            "startTime": clock.to_text(conversation.started_at),
            "endTime": instant_text(conversation.disconnected_at),
            "participants": [_participant(one, conversation) for one in conversation.participants],
            "recordingState": "NONE",
            "divisions": [
                {"division": {"id": one, "selfUri": f"/api/v2/authorization/divisions/{one}"}, "entities": []}
                for one in conversation.division_ids
            ],
            "selfUri": f"/api/v2/conversations/{conversation.id}",
        }
    )


def _participant(participant: Participant, conversation: PlatformConversation) -> JSONObject:
    channel, is_customer = conversation.channel, participant.purpose == "customer"
    last = participant.sessions[-1]
    wrapup = next((one for one in reversed(last.wrapups) if one.ended_at), None)
    return known(
        {
            "id": participant.id,
            "startTime": clock.to_text(participant.started_at),
            "endTime": instant_text(participant.ended_at),
            "connectedTime": instant_text(_began_at(participant.sessions[0], "interact")),
            "name": participant.name,
            "userId": participant.user_id,
            "externalContactId": conversation.external_contact_id if is_customer else None,
            "queueId": last.queue_id,
            "queueName": last.queue_id and QUEUES.get(last.queue_id),
            "purpose": participant.purpose,
            "address": channel.sender if is_customer else None,
            "attributes": dict(participant.attributes[-1].values) if participant.attributes else {},
            "wrapupRequired": participant.purpose == "agent",
            "wrapup": wrapup and _wrapup(wrapup),
            "startAcwTime": wrapup and clock.to_text(wrapup.started_at),
            "endAcwTime": wrapup and instant_text(wrapup.ended_at),
            _COMMUNICATIONS[channel.media]: [_communication(one, channel) for one in participant.sessions],
        }
    )


def _communication(session: Session, channel: Channel) -> JSONObject:
    connected_at = _began_at(session, "interact")
    open_state = "alerting" if connected_at is None else "connected"
    return known(
        {
            "id": session.id,
            "state": open_state if session.ended_at is None else "disconnected",
            "direction": channel.direction,
            "provider": channel.provider,
            "type": channel.message_type,
            "subject": channel.subject,
            "callbackNumbers": list(channel.callback_numbers) or None,
            "callbackUserName": channel.callback_name,
            "disconnectType": session.disconnect and disconnects.in_objects(session.disconnect),
            "startAlertingTime": instant_text(_began_at(session, "alert")),
            "connectedTime": instant_text(connected_at),
            "disconnectedTime": instant_text(session.ended_at),
            "segments": [_segment(one) for one in session.talk],
        }
    )


def _segment(segment: Segment) -> JSONObject:
    return known(
        {
            "type": segment.kind,
            "startTime": clock.to_text(segment.started_at),
            "endTime": instant_text(segment.ended_at),
            "disconnectType": segment.disconnect and disconnects.in_objects(segment.disconnect),
        }
    )


def _wrapup(wrapup: Segment) -> JSONObject:
    ended_at = wrapup.ended_at or wrapup.started_at
    return known(
        {
            "code": wrapup.wrapup_code,
            "name": WRAPUP_CODES.get(wrapup.wrapup_code or ""),
            "notes": wrapup.wrapup_note,
            "tags": [],
            "durationSeconds": milliseconds_between(wrapup.started_at, ended_at) // 1000,
            "endTime": clock.to_text(ended_at),
            "provisional": False,
        }
    )


def _began_at(session: Session, kind: str) -> datetime | None:
    return next((segment.started_at for segment in session.talk if segment.kind == kind), None)
