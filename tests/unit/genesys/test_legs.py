"""The platform's conversation object: what its participants and their legs tell."""

from typing import Any

import pytest

from crm_sync.closure import EventStatus
from crm_sync.resolution import Status
from tests.unit.genesys.builders import CONVERSATION_ID, WRAPUP_CODE, closed_by, parsed, platform

START, LEFT, END = "2022-04-05T12:00:00.000Z", "2022-04-05T12:08:20.000Z", "2022-04-05T12:08:27.440Z"


def customer(**changes: Any) -> dict[str, Any]:
    """Return the customer, with one message leg."""
    leg = {"id": "customer-leg", "state": "disconnected", "direction": "inbound", "disconnectType": "client"}
    leg |= {"connectedTime": START, "disconnectedTime": LEFT, "type": "open"}
    known = {"id": "p-1", "purpose": "customer", "startTime": START, "endTime": LEFT, "messages": [leg]}
    return known | changes


def agent(**changes: Any) -> dict[str, Any]:
    """Return an agent who talked and wrapped up."""
    leg = {"id": "agent-leg", "connectedTime": START, "disconnectedTime": LEFT, "disconnectType": "peer"}
    wrapup = {"code": WRAPUP_CODE.upper(), "name": "Resolved", "notes": "ok", "durationSeconds": 20, "endTime": END}
    known = {"id": "p-2", "purpose": "agent", "userId": "u-1", "queueId": "q-1", "startTime": START, "endTime": END}
    return known | {"messages": [leg], "wrapup": wrapup} | changes


def test_the_object_tells_who_took_part_how_it_ended_and_how_it_was_resolved() -> None:
    found = closed_by(platform(participants=[customer(), agent()], divisions=[{"division": {"id": "d-1"}}]))

    assert (found.closed, found.media_type, found.message_type, found.direction) == (True, "message", "open", "inbound")
    assert (found.disconnect_type, found.agent_ids, found.queue_ids) == ("client", ("u-1",), ("q-1",))
    assert (found.resolution, found.resolution_final, found.acw_ms) == (Status.RESOLVED, True, 20_000)
    assert found.division_ids == ("d-1",)
    assert found.customer_left_at is not None and found.ended_at is not None
    assert found.customer_left_at < found.ended_at


def test_a_provisional_wrapup_decides_and_is_not_final() -> None:
    wrapup = agent()["wrapup"] | {"provisional": True}

    found = closed_by(platform(participants=[customer(), agent(wrapup=wrapup)]))

    assert (found.resolution, found.resolution_final) == (Status.RESOLVED, False)


def test_an_agent_who_was_only_alerted_took_no_part() -> None:
    alerted = agent(messages=[{"id": "agent-leg", "state": "disconnected"}], wrapup=None)

    assert closed_by(platform(participants=[customer(), alerted])).agent_took_part is False


def test_who_waited_for_people_and_met_none_has_abandoned_it() -> None:
    queue = {"id": "p-3", "purpose": "acd", "queueId": "q-1", "messages": [{"id": "acd-leg"}]}

    found = closed_by(platform(participants=[customer(), queue]))

    assert (found.resolution, found.resolution_source) == (Status.ABANDONED, "queue")
    with_agent = closed_by(platform(participants=[customer(), queue, agent(wrapup=None)]))
    assert with_agent.resolution is Status.UNKNOWN


@pytest.mark.parametrize(("endings", "is_over"), [((LEFT, END), True), ((LEFT, None), False)])
def test_a_notification_is_over_when_every_participant_has_gone(endings: tuple[Any, Any], is_over: bool) -> None:
    participants = [customer(endTime=endings[0]), agent(endTime=endings[1])]
    # While the customer's own leg lasts, only that decides.
    participants[0]["messages"][0] |= {"disconnectedTime": None, "disconnectType": None}

    found = closed_by(platform(startTime=None, endTime=None, participants=participants))

    assert found.closed is is_over


def test_attributes_of_the_participants_are_read() -> None:
    found = closed_by(platform(participants=[customer(attributes={"resolutionStatus": "resolved", "order": "7"})]))

    assert found.attributes == {"resolutionStatus": "resolved", "order": "7"}
    assert found.resolution_source == "attribute"


@pytest.mark.parametrize(
    ("participants", "reason"),
    [
        ([customer(messages=7)], "messages is not a list of objects"),
        ([customer(id=None, messages=[{}])], "a participant of the conversation has no id"),
        ([customer(purpose=7)], "purpose is not a text"),
        ([agent(wrapup={"code": "x", "provisional": 1})], "provisional is neither true nor false"),
    ],
)
def test_what_cannot_be_read_is_kept_with_the_reason(participants: list[Any], reason: str) -> None:
    event = parsed(platform(participants=participants))

    assert (event.status, event.reason, event.conversation_id) == (EventStatus.QUARANTINED, reason, None)
    assert CONVERSATION_ID in event.body.decode()
