"""Every shape in which an event comes, and what is read from it."""

import json
from datetime import timedelta
from typing import Any

import pytest

from crm_sync.closure import EventStatus, Person
from crm_sync.genesys import events
from crm_sync.resolution import Status
from tests.unit.genesys.builders import (
    CONVERSATION_ID,
    KNOWN,
    NOON_MS,
    ORGANIZATION_ID,
    RECEIVED_AT,
    accepted,
    closed_by,
    context,
    detail,
    enveloped,
    merged,
    parsed,
    platform,
    sample,
    topic,
    tutorial,
    with_topic,
)

OTHER_ID = "4709b21d-bc22-418a-8c6d-4ededb31bd39"


def end_in_every_shape() -> dict[str, Any]:
    bare = sample("customer.end")
    flat = bare | {"topicName": topic("customer.end")}
    return {
        "bare": bare,
        "flat": flat,
        "topic and event": with_topic("customer.end", bare),
        "envelope": enveloped("customer.end", bare),
        "envelope of a bare event": enveloped("customer.end", bare, detail=bare),
        "envelope of a flat event": enveloped("customer.end", bare, detail=flat),
        "envelope of an event without topic": enveloped("customer.end", bare, detail={"eventBody": bare}),
        "under data": {"event": "conversation:ended", "data": bare},
        "under eventBody": {"type": "conversation:ended", "eventBody": bare},
        "other letter case": bare | {"conversationId": CONVERSATION_ID.upper(), "sessionId": bare["sessionId"].upper()},
        "other letter case in the topic": flat | {"topicName": topic("customer.end", CONVERSATION_ID.upper())},
        "with new fields": bare | {"somethingNew": {"deep": [1]}, "wrapupNotes": None},
    }


@pytest.mark.parametrize("shape", end_in_every_shape())
def test_an_event_is_the_same_in_every_shape(shape: str) -> None:
    expected, event = accepted(sample("customer.end")), accepted(end_in_every_shape()[shape])

    assert (event.dedupe_key, event.kind, event.facts) == (expected.dedupe_key, expected.kind, expected.facts)
    assert (event.conversation_id, event.occurred_at) == (expected.conversation_id, expected.occurred_at)


def test_an_event_keeps_the_bytes_in_which_it_came() -> None:
    raw = json.dumps(sample("customer.end"), indent=3).encode()

    assert accepted(raw).body == raw


def test_a_second_publication_in_another_envelope_is_the_same_event() -> None:
    first, second = (
        accepted(enveloped("user.end", sample("user.end"), envelope_id=name, time="2022-04-06T09:40:00Z"))
        for name in ("a", "b")
    )

    assert first.event_id == second.event_id
    assert (first.trace_id, second.trace_id) == ("a", "b")


@pytest.mark.parametrize("change", [{"eventTime": 1649237504950}, {"sessionId": "other"}, {"conversationId": OTHER_ID}])
def test_another_instant_leg_or_conversation_is_another_event(change: dict[str, Any]) -> None:
    bare = sample("customer.end")

    assert accepted(bare | change).event_id != accepted(bare).event_id


def test_without_a_session_the_participant_tells_the_leg() -> None:
    bare = sample("customer.end") | {"sessionId": None}

    assert accepted(bare).event_id != accepted(bare | {"participantId": "other"}).event_id
    assert accepted(bare | {"participantId": None}).status is EventStatus.ACCEPTED


def test_attributes_of_one_instant_are_two_events_when_they_differ() -> None:
    first, second, again = (
        accepted(detail("attributes", session="p-1", attributes={"step": step})) for step in ("1", "2", "1")
    )

    assert first.event_id == again.event_id != second.event_id


def test_an_array_gives_its_events_in_their_order_each_for_itself() -> None:
    body = [
        sample("user.end"),
        enveloped("customer.end", sample("customer.end")),
        {"hello": "world"},
        tutorial(id=OTHER_ID),
        sample("wrapup") | {"wrapupNotes": 5},
        5,
        [sample("user.end")],
    ]
    found, is_array = events.parse(json.dumps(body).encode(), context())

    assert is_array
    assert [(event.status, event.kind) for event in found] == [
        ("accepted", "user.end"),
        ("accepted", "customer.end"),
        ("ignored", "unknown"),
        ("accepted", "conversation"),
        ("quarantined", "unknown"),
        ("ignored", "unknown"),
        ("ignored", "unknown"),
    ]
    assert found[0].event_id == accepted(sample("user.end")).event_id
    assert [json.loads(event.body) for event in found] == body


def test_an_empty_array_gives_no_event() -> None:
    assert events.parse(b"[]", context()) == ([], True)


def test_a_neighbour_in_the_array_alters_nothing_of_an_event() -> None:
    body = [sample("user.end"), sample("wrapup") | {"wrapupNotes": "nul \0"}]
    clean, altered = events.parse(json.dumps(body).encode(), context())[0]

    assert clean.facts == accepted(sample("user.end")).facts
    assert "text_altered" in altered.facts[""]


@pytest.mark.parametrize("name", ["conversation", "data", "eventBody"])
@pytest.mark.parametrize("beside", [{}, {"event": "conversation:ended"}, {"type": "conversation:ended", "id": "e-1"}])
def test_the_conversation_of_the_tutorial_is_found_under_each_name(name: str, beside: dict[str, Any]) -> None:
    bare, wrapped = accepted(tutorial()), accepted(beside | {name: tutorial()})

    assert (wrapped.event_id, wrapped.facts, wrapped.kind) == (bare.event_id, bare.facts, "conversation")


def test_the_conversation_of_the_tutorial_is_found_in_an_envelope_of_any_topic() -> None:
    wrapped = accepted(enveloped("customer.end", {}, detail=tutorial()))

    assert (wrapped.kind, wrapped.facts) == ("conversation", accepted(tutorial()).facts)


def test_a_wrapper_without_an_event_does_not_hide_the_next_one() -> None:
    assert accepted({"conversation": {"name": "?"}, "data": tutorial()}).event_id == accepted(tutorial()).event_id


def test_the_conversation_of_the_tutorial_closes_with_all_it_tells() -> None:
    closure = closed_by(tutorial())

    assert closure.closed
    assert (closure.resolution, closure.resolution_source, closure.resolution_final) == ("resolved", "payload", True)
    assert closure.duration_ms == 252_250
    assert (closure.media_type, closure.customer_id, closure.bot_ids) == ("chat", "user-456", ("bot-id-123",))
    assert closure.queue_ids == ("human-support-queue",)
    assert closure.attributes == {"order_id": "ORD-998877"}


@pytest.mark.parametrize("change", [{"state": "active"}, {"endTime": None}, {"state": None}, {"state": "Ended"}])
def test_a_conversation_of_the_tutorial_that_is_not_closed_ends_nothing(change: dict[str, Any]) -> None:
    closure = closed_by(tutorial(**change))

    assert (closure.closed, closure.ended_at, closure.resolution) == (False, None, Status.UNKNOWN)
    assert closure.customer_id == "user-456"


def test_a_word_that_is_not_mapped_is_kept_and_waits() -> None:
    closure = closed_by(tutorial(resolutionStatus="half done"))

    assert (closure.resolution, closure.resolution_reason) == (Status.UNKNOWN, "half done")
    assert closure.awaiting_until == closure.ended_at + KNOWN.grace  # type: ignore[operator]


@pytest.mark.parametrize("digits", ["", ".2", ".25", ".250", ".250900", ".250900123"])
def test_the_times_of_a_conversation_may_have_any_number_of_digits(digits: str) -> None:
    event = accepted(tutorial(endTime=f"2022-04-05T12:04:12{digits}Z"))

    assert event.facts[""]["record_closed"][1] is True


def test_a_conversation_of_the_platform_is_over_when_it_has_an_end() -> None:
    over, running = closed_by(platform()), closed_by(platform(endTime=None))

    assert (over.closed, over.duration_ms) == (True, 507_440)
    assert not closed_by(platform(state="active")).closed
    assert (running.closed, running.ended_at) == (False, None)
    assert running.started_at == over.started_at


def test_whole_objects_are_one_event_only_when_they_are_equal() -> None:
    reordered = dict(reversed(tutorial().items()))

    assert accepted(reordered).event_id == accepted(tutorial()).event_id
    assert accepted(tutorial(resolutionStatus="other")).event_id != accepted(tutorial()).event_id


def test_a_conversation_without_any_time_is_quarantined() -> None:
    event = parsed(tutorial(startTime=None, endTime=None))

    assert event.status is EventStatus.QUARANTINED
    assert event.reason == "the conversation has neither startTime nor endTime"


@pytest.mark.parametrize(
    "body",
    [
        {},
        None,
        5,
        "text",
        {"hello": "world"},
        {"id": "m-1", "channel": {"platform": "Open", "time": "2022-04-06T09:30:00Z"}, "type": "Text", "text": "hi"},
        {"conversationId": CONVERSATION_ID},
        {"topicName": "v2.users.u-1.presence", "eventBody": {"source": "PURECLOUD"}},
        {"detail-type": "Scheduled Event", "detail": {}},
        {"detail-type": "Scheduled Event", "detail": "x"},
        detail("voicemail.end"),
        detail("outbound"),
        detail("something.new"),
        detail("customer.start", topicName=None),
    ],
)
def test_a_stranger_is_kept_and_ignored(body: Any) -> None:
    event = parsed(body)

    assert (event.status, event.facts, event.people) == (EventStatus.IGNORED, {}, ())
    assert json.loads(event.body) == body
    assert event.event_id == parsed(body).event_id


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (sample("customer.end") | {"conversationId": None}, "an event without conversationId"),
        (sample("customer.end") | {"conversationId": " "}, "an event without conversationId"),
        (sample("customer.end") | {"eventTime": None}, "an event without eventTime"),
        ({"eventTime": NOON_MS, "sessionId": "s"}, "an event without conversationId"),
        ({"conversationId": "c", "participantId": "p"}, "an event without eventTime"),
        ({"id": None, "endTime": "2022-04-06T09:30:00Z"}, "a conversation without id"),
        (detail("customer.end", conversationId=OTHER_ID), "the topic names another conversation than the event"),
        ({"topicName": topic("acw"), "eventBody": "x"}, "eventBody is not an object"),
        (enveloped("acw", {}, detail=None), "detail is not an object"),
    ],
)
def test_an_event_that_lacks_what_identifies_it_is_quarantined_with_the_reason(body: Any, reason: str) -> None:
    event = parsed(body)

    assert (event.status, event.reason, event.facts) == (EventStatus.QUARANTINED, reason, {})
    assert event.people == ()


def test_an_event_may_lie_ten_minutes_ahead_of_us_and_no_more() -> None:
    at = RECEIVED_AT + timedelta(minutes=10)
    latest = sample("customer.end") | {"eventTime": int(at.timestamp() * 1000)}

    assert parsed(latest).status is EventStatus.ACCEPTED
    late = parsed(latest | {"eventTime": latest["eventTime"] + 1})
    assert (late.status, late.reason) == (EventStatus.QUARANTINED, "eventTime lies before 1990 or in the future")


def test_an_event_of_another_organization_is_quarantined() -> None:
    body = enveloped("customer.end", sample("customer.end"))

    assert parsed(body, "another-organization").reason == "the event is of another organization"
    assert parsed(body, ORGANIZATION_ID).organization_id == ORGANIZATION_ID
    assert parsed(body, ORGANIZATION_ID.upper()).status is EventStatus.ACCEPTED
    assert parsed(sample("customer.end"), ORGANIZATION_ID).organization_id == ORGANIZATION_ID


def test_which_envelope_named_the_organization_does_not_show_in_the_facts() -> None:
    wrapped = parsed(enveloped("customer.end", sample("customer.end")), ORGANIZATION_ID)

    assert wrapped.facts == parsed(sample("customer.end"), ORGANIZATION_ID).facts
    assert wrapped.facts[""]["organization_id"][1] == ORGANIZATION_ID


@pytest.mark.parametrize(
    ("address", "person"),
    [
        ("tel:+1 (317) 555-0100", Person(kind="phone", value="+13175550100")),
        ("13175550100", Person(kind="phone", value="13175550100")),
        ("Zoë@Example.COM", Person(kind="email", value="zoë@example.com")),
        ("customer-42", Person(kind="address", value="customer-42")),
        ("ß" * 150 + "@x", Person(kind="email", value="ss" * 150 + "@x")),
    ],
)
def test_a_person_is_found_by_the_normalised_address(address: str, person: Person) -> None:
    assert accepted(detail("customer.end", ani=address)).people == (person,)


@pytest.mark.parametrize("address", ["x" * 401, "ß" * 399 + "@", "tel:", " "])
def test_an_address_that_no_index_holds_is_no_person(address: str) -> None:
    assert accepted(detail("customer.end", ani=address)).people == ()


def test_who_the_customer_is_depends_on_who_began() -> None:
    sides = {"ani": "tel:+13175550100", "dnis": "tel:+13175550199"}
    inbound = closed_by(detail("customer.end", direction="INBOUND", **sides))
    outbound = closed_by(detail("customer.end", direction="OUTBOUND", **sides))

    assert (inbound.customer_address, inbound.our_address) == ("+13175550100", "+13175550199")
    assert (outbound.customer_address, outbound.our_address) == ("+13175550199", "+13175550100")


def test_the_contacts_of_the_conversation_are_people_too() -> None:
    address, contact = accepted(sample("customer.end")).people

    assert contact == Person(kind="contact", value="12456349-b5c7-4d8f-9eb4-f4df18bce9a9")
    assert address == Person(kind="address", value="customer-42")


def test_a_wrapup_is_read_the_same_from_acw_and_wrapup() -> None:
    data = sample("wrapup")
    as_wrapup, as_acw = accepted(data), accepted(data | {"userId": "u-1"})

    assert (as_wrapup.kind, as_acw.kind) == ("wrapup", "acw")
    assert closed_by(data, data | {"userId": "u-1"}).acw_ms == 20_000
    assert merged([as_wrapup])["session:" + data["sessionId"]]["wrapup"][1]["notes"] == "refund issued"


def test_two_outcomes_of_one_flow_at_one_instant_are_two_events() -> None:
    first, second = (
        accepted(detail("flow.outcome", flowOutcomeId=outcome, flowOutcomeValue="SUCCESS")) for outcome in ("a", "b")
    )

    assert first.dedupe_key != second.dedupe_key


def test_events_without_the_id_of_a_leg_are_kept_apart_by_their_side() -> None:
    customer = detail("customer.end", sessionId=None, disconnectType="CLIENT")
    agent = detail("user.end", sessionId=None, userId="user-1", interactingDurationMs=5)

    assert closed_by(customer, agent).closed


def test_an_element_of_an_array_is_kept_as_it_came() -> None:
    body = json.dumps([detail("customer.end", disconnectType="CLIENT", subject="a\0b")]).encode()
    (event,), _ = events.parse(body, context())

    assert json.loads(event.body)["subject"] == "a\0b"
