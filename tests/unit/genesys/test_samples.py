"""The five sample events of one conversation: whatever the shape, the order and the number, one closure."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_sync.closure import Closure, Event, EventStatus, Facts, derive, merge
from crm_sync.resolution import ResolutionMap, Status
from tests.unit.genesys.builders import (
    CONVERSATION_ID,
    KNOWN,
    ORGANIZATION_ID,
    WRAPUP_CODE,
    accepted,
    closed_by,
    detail,
    enveloped,
    merged,
    parsed,
    platform,
    sample,
)

BARE = ("flow.outcome", "customer.end", "user.end", "wrapup")
ALL = (*BARE, "customer.end.eventbridge")
AGENT = "5f6fe78e-dfbb-400f-a70b-d9b5c8340fdc"
QUEUE = "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"
CONTACT = "12456349-b5c7-4d8f-9eb4-f4df18bce9a9"


def at(clock_time: str) -> datetime:
    return datetime.fromisoformat(f"2022-04-06T{clock_time}+00:00").astimezone(UTC)


def closed_by_samples(*names: str, known: ResolutionMap = KNOWN) -> Closure:
    return closed_by(*(sample(name) for name in names), known=known)


@pytest.mark.parametrize(
    ("name", "kind", "occurred", "ends"),
    [
        ("flow.outcome", "flow.outcome", "09:30:43.000", False),
        ("customer.end", "customer.end", "09:31:44.949", True),
        ("customer.end.eventbridge", "customer.end", "09:31:44.949", True),
        ("user.end", "user.end", "09:31:45.100", False),
        ("wrapup", "wrapup", "09:32:05.010", False),
    ],
)
def test_each_sample_is_understood_and_only_the_end_of_the_customer_ends(
    name: str, kind: str, occurred: str, ends: bool
) -> None:
    event = parsed(sample(name))

    assert (event.status, event.kind, event.occurred_at) == (EventStatus.ACCEPTED, kind, at(occurred))
    assert (event.conversation_id, event.reason) == (CONVERSATION_ID, None)
    assert closed_by_samples(name).closed is ends


def test_the_enveloped_sample_is_the_same_event_as_the_bare_one() -> None:
    bare, wrapped = parsed(sample("customer.end")), parsed(sample("customer.end.eventbridge"))

    assert (wrapped.dedupe_key, wrapped.event_id) == (bare.dedupe_key, bare.event_id)
    assert (wrapped.facts, wrapped.people) == (bare.facts, bare.people)
    assert (wrapped.organization_id, bare.organization_id) == (ORGANIZATION_ID, None)
    assert wrapped.trace_id == "58fb5dac-f077-4eec-a25f-c638dbdd4368"


def test_all_samples_together_give_the_closure_of_the_conversation() -> None:
    assert closed_by_samples(*ALL) == Closure(
        conversation_id=CONVERSATION_ID,
        closed=True,
        ended_at=at("09:31:44.949"),
        customer_left_at=at("09:31:44.949"),
        resolution=Status.RESOLVED,
        resolution_source="wrapup_code",
        resolution_reason=WRAPUP_CODE,
        resolution_final=True,
        media_type="message",
        message_type="open",
        direction="inbound",
        provider="PureCloud Messaging",
        disconnect_type="client",
        customer_address="customer-42",
        our_address="open-integration-id",
        wrapup_code=WRAPUP_CODE,
        wrapup_notes="refund issued",
        agent_took_part=True,
        talk_ms=48_000,
        held_ms=0,
        acw_ms=20_000,
        agent_ids=(AGENT,),
        queue_ids=(QUEUE,),
        flow_ids=("12aeeeff-c0af-4f8b-b647-7a350630419f",),
        division_ids=("a85d0cf7-0afb-4561-adfd-9289c07cd51f",),
        external_contact_ids=(CONTACT,),
    )


def test_without_a_map_of_wrapup_codes_the_resolution_is_pending_for_the_grace() -> None:
    closure = closed_by_samples(*ALL, known=ResolutionMap(grace=timedelta(minutes=7)))

    assert (closure.resolution, closure.resolution_final) == (Status.UNKNOWN, False)
    assert closure.wrapup_code == WRAPUP_CODE
    assert closure.awaiting_until == at("09:38:44.949")


def test_without_an_end_of_the_customer_nothing_has_ended() -> None:
    closure = closed_by_samples("flow.outcome", "user.end", "wrapup")

    assert (closure.closed, closure.ended_at, closure.awaiting_until) == (False, None, None)
    assert (closure.agent_ids, closure.wrapup_notes) == ((AGENT,), "refund issued")


def test_the_success_of_the_bot_alone_is_self_service_and_not_final() -> None:
    closure = closed_by_samples("flow.outcome", "customer.end")

    assert (closure.resolution, closure.resolution_source) == (Status.RESOLVED, "flow_outcome")
    assert not closure.resolution_final
    assert closure.awaiting_until == at("09:41:44.949")


def test_an_agent_who_turns_out_to_have_taken_part_takes_it_back() -> None:
    closure = closed_by_samples("flow.outcome", "customer.end", "user.end")

    assert (closure.resolution, closure.resolution_source) == (Status.UNKNOWN, "disconnect")
    assert not closure.resolution_final


def test_an_alert_that_nobody_took_takes_nothing_back() -> None:
    alert = sample("user.end") | {"interactingDurationMs": 0}
    closure = closed_by(sample("flow.outcome"), sample("customer.end"), alert)

    assert (closure.resolution, closure.agent_ids) == (Status.RESOLVED, ())


def test_a_record_of_the_platform_moves_the_end_and_leaves_when_the_customer_left() -> None:
    record = platform(startTime="2022-04-06T09:30:13.000Z", endTime="2022-04-06T09:32:05.010Z")
    closure = closed_by(*(sample(name) for name in ALL), record)

    assert (closure.ended_at, closure.customer_left_at) == (at("09:32:05.010"), at("09:31:44.949"))
    assert (closure.started_at, closure.duration_ms) == (at("09:30:13.000"), 112_010)
    assert closure.resolution_final


def test_a_late_start_reopens_the_conversation_and_a_later_end_closes_it() -> None:
    customer = str(sample("customer.end")["sessionId"])
    ended_ms = int(sample("customer.end")["eventTime"])
    again = detail("customer.start", session=customer, at_ms=ended_ms + 1)
    end = sample("customer.end") | {"eventTime": ended_ms + 90_000}

    reopened = closed_by(*(sample(name) for name in ALL), again)
    assert (reopened.closed, reopened.ended_at) == (False, at("09:31:44.949"))
    closed = closed_by(*(sample(name) for name in ALL), again, end)
    assert (closed.closed, closed.ended_at) == (True, at("09:33:14.949"))


def _shapes(name: str) -> list[Event]:
    """Return the sample in several shapes, each as it is parsed."""
    data = sample(name)
    if "detail" in data:
        data = data["detail"]["eventBody"]
    kind = name.removesuffix(".eventbridge")
    shapes: list[Any] = [data, enveloped(kind, data), enveloped(kind, data)["detail"]]
    return [accepted(shape) for shape in shapes]


def test_every_order_shape_and_number_of_the_samples_gives_the_same_closure() -> None:
    shapes = {name: _shapes(name) for name in ALL}
    expected = merged(shapes[name][0] for name in ALL)
    record = json.dumps(derive(CONVERSATION_ID, expected, KNOWN).as_record(), sort_keys=True)

    for number, order in enumerate(itertools.permutations(ALL)):
        once = [shapes[name][(number + place) % 3] for place, name in enumerate(order)]
        repeated = once[: number % 5] + once + once[number % 3 :: 2]
        facts = merged(repeated)
        assert facts == expected
        assert json.dumps(derive(CONVERSATION_ID, facts, KNOWN).as_record(), sort_keys=True) == record


def test_facts_that_were_stored_between_any_two_events_are_the_same_facts() -> None:
    events = [accepted(sample(name)) for name in ALL]
    stored: Facts = {}
    for event in events:
        stored = json.loads(json.dumps(merge(stored, event.facts)))

    assert stored == merged(events)
