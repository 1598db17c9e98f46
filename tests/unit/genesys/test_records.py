"""Records of analytics: what they add alone, and that they agree with the events that they stand for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.closure import EventStatus
from crm_sync.genesys import records
from crm_sync.resolution import Status
from tests.unit.genesys.builders import CONVERSATION_ID, WRAPUP_CODE, accepted, closed_by, parsed, sample

CUSTOMER = "9fb2ca78-8389-4758-b76a-9b0300de1fce"
BOT = "95834e35-9325-4d03-b01c-3222b4c00de5"
AGENT = "7f0c5d5e-9d5b-4b8e-8a9f-0d3b6c1f1a11"


def record(**changes: Any) -> dict[str, Any]:
    """Return the record of the sample conversation, as the details query tells it. What is None is left out."""
    leg = {"mediaType": "message", "messageType": "open", "direction": "inbound", "provider": "PureCloud Messaging"}
    leg |= {"addressFrom": "customer-42", "addressTo": "open-integration-id"}
    customer = leg | {
        "sessionId": "c03d300e-fa79-4353-9695-b97a71322785",
        "segments": [segment("interact", "09:30:13.000", "09:31:44.949", disconnectType="client")],
    }
    outcome = {
        "flowOutcomeId": "0f7a6f3e-1111-4c2b-8f60-2f4d6a9e0b01",
        "flowOutcomeValue": "SUCCESS",
        "flowOutcomeEndTimestamp": "2022-04-06T09:30:43.000Z",
    }
    flow = {"flowId": "12aeeeff-c0af-4f8b-b647-7a350630419f", "exitReason": "TRANSFER", "transferType": "ACD"}
    bot = leg | {
        "sessionId": "b3e30aa5-174e-4631-b0d7-b4b6761d3a89",
        "flow": flow | {"outcomes": [outcome]},
        "segments": [segment("interact", "09:30:13.000", "09:30:44.000", disconnectType="transfer")],
    }
    queue = {"queueId": "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"}
    agent = leg | {
        "sessionId": "4b3d69e5-f7a4-489a-a523-7644ae28cf9b",
        "metrics": [metric("tTalkComplete", 48_000), metric("tHeldComplete", 0), metric("tAcw", 20_000)],
        "segments": [
            segment("interact", "09:30:56.000", "09:31:45.100", disconnectType="peer", **queue),
            segment("wrapup", "09:31:45.010", "09:32:05.010", wrapUpCode=WRAPUP_CODE, wrapUpNote="refund issued"),
        ],
    }
    known: dict[str, Any] = {
        "conversationId": CONVERSATION_ID,
        "conversationStart": "2022-04-06T09:30:13.000Z",
        "conversationEnd": "2022-04-06T09:32:05.010Z",
        "originatingDirection": "inbound",
        "selfServed": False,
        "divisionIds": ["a85d0cf7-0afb-4561-adfd-9289c07cd51f"],
        "participants": [
            {
                "participantId": CUSTOMER,
                "purpose": "customer",
                "externalContactId": "12456349-b5c7-4d8f-9eb4-f4df18bce9a9",
                "sessions": [customer],
            },
            {"participantId": BOT, "purpose": "botflow", "sessions": [bot]},
            {
                "participantId": AGENT,
                "purpose": "agent",
                "userId": "5f6fe78e-dfbb-400f-a70b-d9b5c8340fdc",
                "sessions": [agent],
            },
        ],
    }
    return {name: value for name, value in (known | changes).items() if value is not None}


def segment(kind: str, start: str, end: str | None, **data: Any) -> dict[str, Any]:
    """Return a segment on the day of the samples."""
    times = {"segmentStart": f"2022-04-06T{start}Z"} | ({} if end is None else {"segmentEnd": f"2022-04-06T{end}Z"})
    return {"segmentType": kind, **times, **data}


def metric(name: str, value: int) -> dict[str, Any]:
    """Return a metric of a session."""
    return {"name": name, "value": value, "emitDate": "2022-04-06T09:32:05.010Z"}


def without(purpose: str, **changes: Any) -> dict[str, Any]:
    """Return the record without the participants of a purpose."""
    whole = record()
    return record(participants=[one for one in whole["participants"] if one["purpose"] != purpose], **changes)


EVENTS = ("flow.outcome", "customer.end", "user.end", "wrapup")


def test_a_record_alone_tells_what_all_its_events_tell() -> None:
    by_record = closed_by(record()).as_record()
    by_events = closed_by(*(sample(kind) for kind in EVENTS)).as_record()

    differing = {name: by_record[name] for name in by_record if by_record[name] != by_events[name]}
    # No event of the five says when it began, and the conversation's own end is later than the customer's.
    assert differing == {
        "started_at": "2022-04-06T09:30:13.000Z",
        "ended_at": "2022-04-06T09:32:05.010Z",
        "duration_ms": 112_010,
    }


def test_a_record_beside_its_events_adds_only_the_start_and_the_end() -> None:
    both = closed_by(*(sample(kind) for kind in EVENTS), record())

    assert both == closed_by(record())


def test_a_record_orders_by_the_newest_time_inside_and_repeats_itself_by_its_content() -> None:
    first, again, other = accepted(record()), accepted(record()), accepted(record(selfServed=True))

    assert first.occurred_at == datetime(2022, 4, 6, 9, 32, 5, 10_000, tzinfo=UTC)
    assert first.event_id == again.event_id != other.event_id
    assert first.kind == "record"


def test_a_record_without_an_end_closes_nothing() -> None:
    whole = record(conversationEnd=None)
    whole["participants"][0]["sessions"][0]["segments"] = [segment("interact", "09:30:13.000", None)]

    found = closed_by(whole)

    assert (found.closed, found.ended_at) == (False, None)


def test_a_record_does_not_close_what_a_later_start_has_reopened() -> None:
    reopened = sample("customer.end") | {"eventTime": 1649237600000, "topicName": _topic("customer.start")}
    del reopened["disconnectType"]

    assert closed_by(record(), reopened).closed is False
    assert closed_by(reopened, record()).closed is False


def test_of_several_wrapups_in_a_record_the_latest_counts() -> None:
    whole = record()
    second = whole["participants"][2] | {"participantId": "p-4"}
    later = segment("wrapup", "09:32:10.000", "09:32:20.000", wrapUpCode="code-lost")
    second["sessions"] = [second["sessions"][0] | {"sessionId": "s-4", "segments": [later]}]

    for participants in ([*whole["participants"], second], [second, *whole["participants"]]):
        found = closed_by(record(participants=participants))
        assert (found.wrapup_code, found.resolution) == ("code-lost", Status.UNRESOLVED)


def test_who_served_himself_is_resolved_and_who_met_an_agent_is_not() -> None:
    bot_only = without("agent", selfServed=True)
    bot_only["participants"][1]["sessions"][0]["flow"] = {"flowId": "f-1"}

    assert (closed_by(bot_only).resolution, closed_by(bot_only).resolution_source) == (Status.RESOLVED, "self_served")
    # The agent's code decides there.
    assert closed_by(record(selfServed=True)).resolution_source == "wrapup_code"


def test_attributes_of_a_record_never_overrule_those_of_an_event() -> None:
    whole = record()
    whole["participants"][0]["attributes"] = {"resolutionStatus": "cut short", "order": "7"}
    told = {
        "topicName": _topic("attributes"),
        "eventTime": 1649237413001,
        "conversationId": CONVERSATION_ID,
        "participantId": CUSTOMER,
        "attributes": {"resolutionStatus": "whole"},
    }

    assert closed_by(whole, told).attributes == {"resolutionStatus": "whole", "order": "7"}


def test_a_call_that_no_queue_has_seen_has_an_external_customer() -> None:
    direct = without("botflow")
    direct["participants"] = [direct["participants"][0] | {"purpose": "external"}]

    assert closed_by(direct).customer_left_at is not None
    # Where there is a customer, an external party is somebody whom the agent has called.
    both = record()
    both["participants"].append(direct["participants"][0] | {"sessions": [{"sessionId": "x", "segments": []}]})
    assert closed_by(both) == closed_by(record())


def test_a_transfer_of_the_customers_leg_is_not_its_end() -> None:
    whole = record(conversationEnd=None)
    whole["participants"][0]["sessions"][0]["segments"][0]["disconnectType"] = "consultTransfer"

    assert closed_by(whole).closed is False


def test_a_row_of_the_tutorials_query_closes_a_conversation_as_its_webhook_does() -> None:
    row = {
        "conversationId": CONVERSATION_ID,
        "startTime": "2022-04-05T12:00:00.000Z",
        "endTime": "2022-04-05T12:04:12.250Z",
        "resolutionStatus": "resolved",
        "duration": 252_250,
    }

    found = closed_by(row)

    assert found.closed and found.duration_ms == 252_250
    assert (found.resolution, found.resolution_source) == (Status.RESOLVED, "payload")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conversationId": None, "participantId": "p"}, "an event without conversationId"),
        ({"conversationStart": "yesterday"}, "conversationStart is not an instant"),
        ({"participants": {}}, "participants is not a list of objects"),
        ({"participants": [7]}, "participants is not a list of objects"),
        ({"participants": [{"sessions": [{}]}]}, "a session of the record has no sessionId"),
        ({"selfServed": "yes"}, "selfServed is neither true nor false"),
    ],
)
def test_a_record_that_cannot_be_read_is_kept_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    event = parsed(record(**changes))

    if changes.get("conversationId", "") is None:
        assert event.status is EventStatus.IGNORED
    else:
        assert (event.status, event.reason) == (EventStatus.QUARANTINED, reason)


def _topic(kind: str) -> str:
    return f"v2.detail.events.conversation.{CONVERSATION_ID}.{kind}"


def test_an_ending_is_told_by_records_and_rows_that_have_one() -> None:
    ended = "2022-04-06T09:32:05.010Z"
    now = clock.now()

    assert records.ending(record(), not_after=now) == (CONVERSATION_ID, datetime.fromisoformat(ended))
    assert records.ending({"conversationId": "C1", "startTime": ended, "endTime": ended}, not_after=now) == (
        "C1", datetime.fromisoformat(ended),
    )  # fmt: skip
    for lacking in (record(conversationEnd=None), record(conversationEnd="soon"), record(conversationId=None), {}):
        assert records.ending(lacking, not_after=now) is None
