"""What a closure is, from the facts of one conversation: ended or open, when, and by whom."""

import copy
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.closure import FIELDS, Closure, Event, EventStatus, Facts, derive, merge, stamp
from crm_sync.resolution import ResolutionMap, Status
from tests.unit.genesys.builders import (
    CONVERSATION_ID,
    KNOWN,
    NOON_MS,
    WRAPUP_CODE,
    accepted,
    closed_by,
    detail,
    merged,
    platform,
    tutorial,
)

MINUTE = 60_000
NOON = clock.from_ms(NOON_MS)


def start(minute: int, session: str = "customer-leg") -> dict[str, Any]:
    return detail("customer.start", at_ms=NOON_MS + minute * MINUTE, session=session)


def end(minute: int, session: str = "customer-leg", **data: Any) -> dict[str, Any]:
    return detail("customer.end", at_ms=NOON_MS + minute * MINUTE, session=session, **data)


def record(minute: int, **data: Any) -> dict[str, Any]:
    ended = clock.to_text(NOON + timedelta(minutes=minute))
    return tutorial(endTime=ended, resolutionStatus=None, attributes=None, **data)


def minutes(closure: Closure) -> tuple[bool, float | None]:
    """Return whether it is closed, and the minute of its end."""
    return closure.closed, (closure.ended_at - NOON) / timedelta(minutes=1) if closure.ended_at else None


@pytest.mark.parametrize(
    ("bodies", "closed", "ended"),
    [
        ([], False, None),
        ([start(0)], False, None),
        ([end(5)], True, 5),
        ([start(0), end(5)], True, 5),
        ([start(5), end(5)], True, 5),
        ([end(5), start(6)], False, 5),
        ([start(0), end(5), start(6)], False, 5),
        ([start(0), end(5), start(6), end(9)], True, 9),
        ([start(0), end(5), start(6), end(9), end(7)], True, 9),
        ([start(0), end(5, disconnectType="CONSULT_TRANSFER")], False, None),
        ([start(0), end(5, disconnectType="CONSULT_TRANSFER"), start(5, "second")], False, None),
        ([start(0), end(5, disconnectType="CONSULT_TRANSFER"), start(5, "second"), end(9, "second")], True, 9),
        ([start(0), end(5, disconnectType="TRANSFER"), start(6)], False, None),
        ([end(4), end(5, disconnectType="TAKEOVER")], True, 4),
        ([start(0), start(1, "second"), end(5)], False, 5),
        ([start(0), start(1, "second"), end(5), end(4, "second")], True, 5),
        ([end(5), end(6, "second", disconnectType="TRANSFER")], True, 5),
        ([end(5), start(6, "second")], False, 5),
        ([record(5)], True, 5),
        ([start(0), record(5)], True, 5),
        ([start(5), record(5)], False, 5),
        ([start(6), record(5)], False, 5),
        ([record(5), start(6), end(8)], True, 8),
        ([record(5), start(6), record(7)], True, 7),
        ([end(6), record(5)], True, 6),
        ([start(0), record(5, state="active")], False, None),
        ([end(5), record(8, state="active")], True, 5),
        ([detail("user.start"), detail("user.end"), detail("acd.end"), detail("flow.end")], False, None),
    ],
)
def test_a_conversation_is_closed_when_a_customer_left_and_none_is_there(
    bodies: list[Any], closed: bool, ended: int | None
) -> None:
    assert minutes(closed_by(*bodies)) == (closed, ended)
    assert minutes(closed_by(*reversed(bodies))) == (closed, ended)


def test_the_start_is_the_earliest_and_the_end_the_newest_that_anybody_knows() -> None:
    bodies = [start(3), end(4), start(1), end(9), start(2, "second"), end(7, "second"), platform()]
    closure = closed_by(*bodies)

    assert closure.started_at == NOON
    assert closed_by(*bodies[:-1]).started_at == NOON + timedelta(minutes=1)
    assert closure.ended_at == closure.customer_left_at == NOON + timedelta(minutes=9)
    assert closure.duration_ms == 9 * MINUTE


def test_the_earliest_start_holds_whichever_record_was_the_newest() -> None:
    early, late = record(9, startTime="2022-04-05T11:50:00Z"), record(5, startTime="2022-04-05T11:55:00Z")

    assert closed_by(early, late).started_at == NOON - timedelta(minutes=10)


def test_when_the_customer_left_and_when_it_ended_are_kept_apart() -> None:
    closure = closed_by(end(5), record(8))

    assert closure.customer_left_at == NOON + timedelta(minutes=5)
    assert closure.ended_at == NOON + timedelta(minutes=8)
    assert closed_by(record(8)).customer_left_at is None


def test_how_the_customer_left_is_told_by_the_last_session_to_end() -> None:
    first, last = end(5, "b", disconnectType="CLIENT"), end(6, "a", disconnectType="PEER")

    assert closed_by(last, first).disconnect_type == "peer"
    assert closed_by(detail("user.end", disconnectType="PEER")).disconnect_type is None


def test_a_resolution_that_may_still_come_is_awaited_for_the_grace_after_the_end() -> None:
    known = replace(KNOWN, grace=timedelta(minutes=3))
    wrapup = detail("wrapup", wrapupCode="code-lost", at_ms=NOON_MS + 20 * MINUTE)

    assert closed_by(end(5), known=known).awaiting_until == NOON + timedelta(minutes=8)
    assert closed_by(end(5), wrapup, known=known).awaiting_until is None
    assert closed_by(start(0), known=known).awaiting_until is None


def test_a_late_wrapup_corrects_the_resolution_and_the_newest_counts() -> None:
    first = detail("wrapup", wrapupCode="code-lost", session="a", at_ms=NOON_MS + MINUTE)
    second = detail("wrapup", wrapupCode=WRAPUP_CODE, session="b", at_ms=NOON_MS + 2 * MINUTE)

    assert closed_by(end(5), first).resolution is Status.UNRESOLVED
    closure = closed_by(end(5), second, first)
    assert (closure.resolution, closure.resolution_final) == (Status.RESOLVED, True)


def test_the_attribute_that_tells_the_resolution_is_the_one_that_is_configured() -> None:
    body = detail("attributes", attributes={"outcome": "Lost", "resolutionStatus": "resolved"})
    known = ResolutionMap(attribute="outcome", words={"lost": Status.UNRESOLVED})

    assert closed_by(end(5), body, known=known).resolution is Status.UNRESOLVED
    assert closed_by(end(5), body).resolution is Status.RESOLVED


@pytest.mark.parametrize("value", [7, True, ["resolved"], {"a": "resolved"}, "", "  "])
def test_an_attribute_that_is_no_word_tells_no_resolution(value: Any) -> None:
    body = detail("attributes", attributes={"resolutionStatus": value})

    assert closed_by(end(5), body).resolution_source is None


def test_each_attribute_has_the_value_that_it_was_given_last() -> None:
    first = detail("attributes", attributes={"a": "1", "b": "1"}, at_ms=NOON_MS)
    last = detail("attributes", attributes={"b": "2", "c": None}, at_ms=NOON_MS + 1)

    closure = closed_by(last, first)
    assert closure.attributes == {"a": "1", "b": "2"}
    assert list(closure.attributes) == ["a", "b"]


def test_talk_and_after_call_work_are_summed_over_the_agents() -> None:
    bodies = [
        detail("user.end", session="a", userId="u-2", interactingDurationMs=1000, heldDurationMs=0, queueId="q-2"),
        detail("user.end", session="b", userId="u-1", interactingDurationMs=500, queueId="q-1"),
        detail("user.end", session="c", userId="u-3", interactingDurationMs=0),
        detail("acw", session="b", userId="u-1", wrapupCode="x", wrapupDurationMs=7),
    ]
    closure = closed_by(*bodies)

    assert (closure.talk_ms, closure.held_ms, closure.acw_ms) == (1500, 0, 7)
    assert (closure.agent_ids, closure.queue_ids) == (("u-1", "u-2"), ("q-1", "q-2"))
    assert closed_by(end(5)).talk_ms is None


@pytest.mark.parametrize(
    ("body", "took_part"),
    [
        (detail("user.start", userId="u"), False),
        (detail("user.end", userId="u", interactingDurationMs=0), False),
        (detail("user.end", userId="u", interactingDurationMs=1), True),
        (detail("user.end", userId="u"), True),
        (detail("acd.start", queueId="q"), False),
        (detail("acd.end", acdOutcome="ABANDON"), False),
        (detail("acd.end", acdOutcome="ANSWERED", answeredUserId="u"), True),
        (detail("acw", userId="u"), True),
        (detail("wrapup"), True),
        (end(5), False),
    ],
)
def test_an_agent_took_part_only_where_an_event_says_so(body: Any, took_part: bool) -> None:
    assert closed_by(body).agent_took_part is took_part


def test_the_leg_of_the_customer_tells_the_medium_before_any_other_leg() -> None:
    customer, agent = end(0, mediaType="CHAT"), detail("user.end", mediaType="VOICE", at_ms=NOON_MS + MINUTE)

    assert closed_by(agent, customer).media_type == "chat"
    assert closed_by(agent).media_type == "voice"
    assert closed_by(tutorial(type="email")).media_type == "email"


def test_a_closure_is_of_the_organization_that_the_settings_name() -> None:
    facts = merge(accepted(end(5)).facts, {"": {"organization_id": ["", "o-1"]}})

    assert derive(CONVERSATION_ID, facts, KNOWN).organization_id == "o-1"


def test_without_facts_there_is_an_open_conversation_of_which_nothing_is_known() -> None:
    assert derive("c-1", {}, KNOWN) == Closure(conversation_id="c-1")


def test_a_record_names_every_field_in_values_that_json_keeps() -> None:
    record = closed_by(start(0), end(5), tutorial()).as_record()

    assert tuple(record) == FIELDS == tuple(f.name for f in fields(Closure))
    assert json.loads(json.dumps(record)) == record
    assert (record["started_at"], record["resolution"]) == ("2022-04-05T12:00:00.000Z", "resolved")
    assert record["bot_ids"] == ["bot-id-123"]


def test_merging_and_deriving_leave_their_facts_alone() -> None:
    known, new = merged([accepted(start(0)), accepted(tutorial())]), accepted(end(5)).facts
    before = copy.deepcopy((known, new))
    both = merge(known, new)
    derive(CONVERSATION_ID, both, KNOWN)

    assert (known, new) == before
    assert both == merge(known, new)


def test_of_two_facts_the_larger_stamp_holds_and_on_a_tie_one_of_them_for_certain() -> None:
    def one(mark: str, value: Any) -> Facts:
        return {"": {"field": [mark, value]}}

    assert merge(one("2", "a"), one("1", "z"))[""]["field"] == ["2", "a"]
    assert merge(one("1", "a"), one("1", "z")) == merge(one("1", "z"), one("1", "a"))
    assert merge(one("1", {"b": 1, "a": 2}), one("1", {"a": 2, "b": 1})) == one("1", {"a": 2, "b": 1})


def test_stamps_sort_by_instant_then_rank_then_kind_then_key() -> None:
    later = NOON + timedelta(milliseconds=1)
    stamps = [
        stamp(datetime.min.replace(tzinfo=UTC), rank=9, kind="z", key="z"),
        stamp(NOON - timedelta(days=20_000), rank=9, kind="z", key="z"),
        stamp(NOON, rank=1, kind="acd.end", key="k"),
        stamp(NOON, rank=1, kind="wrapup", key="k"),
        stamp(NOON, rank=2, kind="acd.end", key="k"),
        stamp(later, rank=1, kind="acd.end", key="k"),
        stamp(datetime.max.replace(tzinfo=UTC), rank=0, kind="", key=""),
    ]

    assert stamps == sorted(stamps)
    assert stamp(NOON, rank=1, kind="k", key="a") != stamp(NOON, rank=1, kind="k", key="b")
    assert stamp(later, rank=1, kind="k", key="a", earliest=True) < stamp(
        NOON, rank=1, kind="k", key="a", earliest=True
    )


def test_an_event_has_the_id_of_its_dedupe_key_and_no_other() -> None:
    def event(key: str, **changes: Any) -> Event:
        known: dict[str, Any] = {"status": EventStatus.ACCEPTED, "kind": "acw", "body": b"", "source": "webhook"}
        return Event(dedupe_key=key, received_at=NOON, **(known | changes))

    assert event("a").event_id == event("a", body=b"x", source="replay").event_id
    assert event("a").event_id != event("b").event_id
    assert len(event("a").event_id) == 36
