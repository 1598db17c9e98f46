"""The detail events of a conversation, each with exactly the keys that its kind has; what is not known is left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from crm_sync import clock
from crm_sync.sandbox import disconnects
from crm_sync.sandbox.platform_conversations import (
    Flow,
    Participant,
    PlatformConversation,
    Segment,
    Session,
    milliseconds_between,
)
from crm_sync.sandbox.wire import JSONObject, known

TOPIC = "v2.detail.events.conversation."


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailEvent:
    """One event: its kind as in `customer.end`, and its body, which does not name it."""

    kind: str
    body: JSONObject

    @property
    def topic(self) -> str:
        return f"{TOPIC}{self.body['conversationId']}.{self.kind}"

    @property
    def topic_pattern(self) -> str:
        """The topic as a trigger and EventBridge name it, with the literal `{id}`."""
        return f"{TOPIC}{{id}}.{self.kind}"


def events_of(conversation: PlatformConversation) -> list[DetailEvent]:
    """Return what the platform tells of a conversation, in the order in which it happened."""
    told = [
        event for participant in conversation.participants for event in _of_participant(_Leg(conversation, participant))
    ]
    return sorted(told, key=lambda event: int(event.body["eventTime"]))


class _Leg:
    """Writes events of one participant: what all kinds have in common comes from here."""

    def __init__(self, conversation: PlatformConversation, participant: Participant) -> None:
        self.conversation = conversation
        self.participant = participant

    def event(self, kind: str, at: datetime, session: Session, **more: object) -> DetailEvent:
        channel, is_flow = self.conversation.channel, kind.startswith("flow.")
        places = ("ani", "dnis") if channel.media in ("voice", "callback") else ("addressFrom", "addressTo")
        body = self._named(at) | {
            "sessionId": session.id,
            "mediaType": channel.media.upper(),
            "provider": channel.provider,
            "direction": channel.direction.upper(),
            places[0]: channel.sender,
            places[1]: channel.recipient,
            "messageType": channel.message_type and channel.message_type.upper(),
            "subject": channel.subject,
            "callbackUserName": None if is_flow else channel.callback_name,
            "callbackNumbers": None if is_flow else list(channel.callback_numbers) or None,
            "divisionId": None if kind in ("acw", "wrapup") else self.conversation.division_ids[0],
        }
        return DetailEvent(kind=kind, body=known(body | more))

    def attributes(self, values: dict[str, str], at: datetime) -> DetailEvent:
        """Return an `attributes` event, which tells of a participant and of no session."""
        sessions, media = self.participant.sessions, self.conversation.channel.media.upper()
        body = self._named(at) | {
            "attributes": dict(values),
            "communications": [{"id": session.id, "mediaType": media} for session in sessions],
            "participantStartTime": clock.to_ms(self.participant.started_at),
        }
        return DetailEvent(kind="attributes", body=body)

    def _named(self, at: datetime) -> JSONObject:
        return {
            "eventTime": clock.to_ms(at),
            "conversationId": self.conversation.id,
            "participantId": self.participant.id,
            "conversationExternalContactIds": [self.conversation.external_contact_id],
            "conversationExternalOrganizationIds": [],
        }


def _of_participant(leg: _Leg) -> Iterator[DetailEvent]:
    for attributes in leg.participant.attributes:
        yield leg.attributes(attributes.values, attributes.set_at)
    for session in leg.participant.sessions:
        match leg.participant.purpose:
            case "customer":
                yield from _of_customer(leg, session)
            case "agent":
                yield from _of_agent(leg, session)
            case "acd":
                yield from _of_queue(leg, session)
        if session.flow is not None:
            yield from _of_flow(leg, session, session.flow)


def _of_customer(leg: _Leg, session: Session) -> Iterator[DetailEvent]:
    contact = leg.conversation.external_contact_id
    yield leg.event("customer.start", session.started_at, session, externalContactId=contact)
    if session.ended_at is not None:
        yield leg.event(
            "customer.end",
            session.ended_at,
            session,
            disconnectType=_disconnect(session),
            externalContactId=contact,
            interactingDurationMs=session.milliseconds("interact"),
        )


def _of_agent(leg: _Leg, session: Session) -> Iterator[DetailEvent]:
    place = {"userId": leg.participant.user_id, "queueId": session.queue_id}
    yield leg.event("user.start", session.started_at, session, **place)
    if session.ended_at is not None:
        yield leg.event(
            "user.end",
            session.ended_at,
            session,
            **place,
            disconnectType=_disconnect(session),
            interactingDurationMs=session.milliseconds("interact"),
            heldDurationMs=session.milliseconds("hold"),
            alertingDurationMs=session.milliseconds("alert"),
            contactingDurationMs=0,
            dialingDurationMs=0,
            callbackDurationMs=0,
        )
    for wrapup in session.wrapups:
        if wrapup.ended_at is not None:
            yield leg.event("acw", wrapup.ended_at, session, **place, **_wrapup(wrapup, wrapup.ended_at))
            yield leg.event(
                "wrapup", wrapup.ended_at, session, queueId=session.queue_id, **_wrapup(wrapup, wrapup.ended_at)
            )


def _of_queue(leg: _Leg, session: Session) -> Iterator[DetailEvent]:
    yield leg.event("acd.start", session.started_at, session, queueId=session.queue_id)
    if session.ended_at is not None:
        answered = session.answered_by is not None
        yield leg.event(
            "acd.end",
            session.ended_at,
            session,
            queueId=session.queue_id,
            disconnectType=_disconnect(session),
            acdOutcome="ANSWERED" if answered else "ABANDON",
            answeredUserId=session.answered_by,
            requestedRoutings=["STANDARD"],
            usedRouting="STANDARD" if answered else None,
            connectedDurationMs=milliseconds_between(session.started_at, session.ended_at),
        )


def _of_flow(leg: _Leg, session: Session, flow: Flow) -> Iterator[DetailEvent]:
    named = {"flowId": flow.id, "flowType": flow.type, "flowVersion": flow.version}
    yield leg.event("flow.start", session.started_at, session, **named)
    for outcome in flow.outcomes:
        yield leg.event(
            "flow.outcome",
            outcome.ended_at,
            session,
            **named,
            flowOutcomeId=outcome.id,
            flowOutcomeValue=outcome.value,
            flowOutcomeStartTime=clock.to_ms(outcome.started_at),
            flowOutcomeEndTime=clock.to_ms(outcome.ended_at),
            flowMilestones=[],
        )
    if session.ended_at is not None:
        yield leg.event(
            "flow.end",
            session.ended_at,
            session,
            **named,
            disconnectType=_disconnect(session),
            exitReason=flow.exit_reason,
            transferType=flow.transfer_type,
            connectedDurationMs=milliseconds_between(session.started_at, session.ended_at),
        )


def _wrapup(wrapup: Segment, ended_at: datetime) -> JSONObject:
    return {
        "wrapupCode": wrapup.wrapup_code,
        "wrapupNotes": wrapup.wrapup_note,
        "wrapupDurationMs": milliseconds_between(wrapup.started_at, ended_at),
    }


def _disconnect(session: Session) -> str | None:
    return session.disconnect and disconnects.in_events(session.disconnect)
