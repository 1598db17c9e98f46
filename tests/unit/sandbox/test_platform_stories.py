"""One conversation of the platform, told three ways: the events, the record and the object agree, whatever the seed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_sync import clock
from crm_sync.sandbox import disconnects
from crm_sync.sandbox.analytics_records import record_of
from crm_sync.sandbox.conversation_objects import object_of
from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.expectations import expected_resolution
from crm_sync.sandbox.platform_conversations import PlatformConversation
from crm_sync.sandbox.platform_world import NOT_RESOLVED, WRAPUP_WORDS
from crm_sync.sandbox.stories import MEDIA, STORIES, generate

SINCE, UNTIL = datetime(2024, 1, 15, tzinfo=UTC), datetime(2024, 1, 16, tzinfo=UTC)

_COMMON = {
    "eventTime", "conversationId", "participantId", "sessionId", "mediaType", "provider", "direction", "ani", "dnis",
    "conversationExternalContactIds", "conversationExternalOrganizationIds", "messageType", "addressTo", "addressFrom",
    "subject",
}  # fmt: skip
_CALLBACK = {"callbackUserName", "callbackNumbers", "callbackScheduledTime"}
_FLOW = {"divisionId", "flowType", "flowId", "flowVersion"}
_USER_TIMES = {f"{name}DurationMs" for name in ("interacting", "held", "alerting", "contacting", "dialing", "callback")}
_WRAPUP = _COMMON | _CALLBACK | {"queueId", "wrapupCode", "wrapupNotes", "wrapupDurationMs"}
_EXTERNAL = {"externalContactId", "externalOrganizationId"}
KEYS = {
    "customer.start": _COMMON | _CALLBACK | _EXTERNAL | {"divisionId"},
    "customer.end": _COMMON | _CALLBACK | _EXTERNAL | {"divisionId", "disconnectType", "interactingDurationMs"},
    "user.start": _COMMON | _CALLBACK | {"divisionId", "userId", "queueId"},
    "user.end": _COMMON | _CALLBACK | _USER_TIMES | {"divisionId", "userId", "queueId", "disconnectType"},
    "acd.start": _COMMON | _CALLBACK | {"divisionId", "queueId"},
    "acd.end": _COMMON
    | _CALLBACK
    | {"divisionId", "queueId", "disconnectType", "acdOutcome", "answeredUserId", "requestedRoutings", "usedRouting"}
    | {"connectedDurationMs"},
    "acw": _WRAPUP | {"userId"},
    "wrapup": _WRAPUP,
    "attributes": {
        "eventTime", "conversationId", "participantId", "attributes", "communications", "participantStartTime",
        "conversationExternalContactIds", "conversationExternalOrganizationIds",
    },
    "flow.start": _COMMON | _FLOW,
    "flow.end": _COMMON | _FLOW | {"disconnectType", "connectedDurationMs", "exitReason", "transferType"},
    "flow.outcome": _COMMON
    | _FLOW
    | {"flowOutcomeId", "flowOutcomeValue", "flowOutcomeStartTime", "flowOutcomeEndTime", "flowMilestones"},
}  # fmt: skip
unhurried = settings(deadline=None)

NEVER_SAID = {"callbackScheduledTime", "externalOrganizationId"}


def tell(story: str, *media: str, seed: int = 1, count: int = 20) -> list[PlatformConversation]:
    chosen = media or STORIES[story].media
    return list(generate(seed, count, since=SINCE, until=UNTIL, media=chosen, stories=[story]))


def everything(seed: int = 1) -> Iterator[PlatformConversation]:
    for story in STORIES:
        yield from tell(story, seed=seed)


def sessions_of(record: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        session["sessionId"]: (participant["purpose"], session)
        for participant in record["participants"]
        for session in participant["sessions"]
    }


def test_the_keys_of_every_kind_are_those_that_it_has_on_the_platform() -> None:
    seen: dict[str, set[str]] = {kind: set() for kind in KEYS}
    for conversation in everything():
        for event in events_of(conversation):
            seen[event.kind] |= set(event.body)

    assert {kind: keys | (KEYS[kind] & NEVER_SAID) for kind, keys in seen.items()} == KEYS


@unhurried
@given(seed=st.integers(min_value=0), story=st.sampled_from(list(STORIES)))
def test_events_and_record_agree_on_ids_times_and_words(seed: int, story: str) -> None:
    (conversation,) = tell(story, seed=seed, count=1)
    record, events = record_of(conversation, with_attributes=True), events_of(conversation)
    sessions = sessions_of(record)

    assert [event.body["eventTime"] for event in events] == sorted(event.body["eventTime"] for event in events)
    assert {event.body["conversationId"] for event in events} == {record["conversationId"]}
    for event in events:
        if event.kind == "attributes":
            continue
        body, (purpose, session) = event.body, sessions[event.body["sessionId"]]
        at = clock.to_text(clock.from_ms(body["eventTime"]))
        talk = [segment for segment in session["segments"] if segment["segmentType"] != "wrapup"]
        assert body["mediaType"] == session["mediaType"].upper()
        assert (body.get("ani"), body.get("addressFrom")) == (session.get("ani"), session.get("addressFrom"))
        if event.kind.endswith(".start"):
            assert at == session["segments"][0]["segmentStart"]
        elif event.kind.endswith(".end"):
            assert at == talk[-1]["segmentEnd"]
            assert body["disconnectType"].replace("_", "") == talk[-1]["disconnectType"].upper()
        elif event.kind in ("acw", "wrapup"):
            (wrapup,) = (segment for segment in session["segments"] if segment["segmentType"] == "wrapup")
            assert (purpose, at) == ("agent", wrapup["segmentEnd"])
            assert body["wrapupCode"] == wrapup["wrapUpCode"]


@unhurried
@given(seed=st.integers(min_value=0), story=st.sampled_from(list(STORIES)))
def test_record_and_object_agree_and_what_has_ended_ended_in_the_window(seed: int, story: str) -> None:
    (conversation,) = tell(story, seed=seed, count=1)
    record, told = record_of(conversation), object_of(conversation)

    assert (told["id"], told["startTime"]) == (record["conversationId"], record["conversationStart"])
    assert [one["id"] for one in told["participants"]] == [one["participantId"] for one in record["participants"]]
    assert conversation.started_at >= SINCE
    assert ("conversationEnd" in record, "endTime" in told) == ((False, False) if story == "going_on" else (True, True))
    if conversation.ended_at is not None and conversation.disconnected_at is not None:
        assert conversation.disconnected_at <= conversation.ended_at <= UNTIL
        assert told["endTime"] == clock.to_text(conversation.disconnected_at)
        assert all("endTime" in participant for participant in told["participants"])


def test_the_same_seed_tells_the_same_stories_and_another_one_others() -> None:
    def ids(seed: int) -> list[str]:
        return [one.id for one in generate(seed, 30, since=SINCE, until=UNTIL)]

    assert ids(7) == ids(7)
    assert not set(ids(7)) & set(ids(8))


def test_every_medium_and_every_usual_story_is_told() -> None:
    told = list(generate(1, 500, since=SINCE, until=UNTIL))

    assert {one.channel.media for one in told} == set(MEDIA)
    assert {one.story for one in told} == {name for name, story in STORIES.items() if story.weight}


def test_a_window_shorter_than_a_story_is_begun_at_its_start() -> None:
    until = SINCE + timedelta(minutes=1)

    assert {one.started_at for one in generate(1, 5, since=SINCE, until=until)} == {SINCE}


def test_stories_that_fit_no_medium_are_refused() -> None:
    with pytest.raises(ValueError, match="fits"):
        tell("bot_success", "callback")


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ("bot_success", {"resolved"}),
        ("bot_failure_then_agent", {"resolved", "unresolved", "escalated"}),
        ("bot_error", {"unresolved"}),
        ("agent", {"resolved", "unresolved", "escalated"}),
        ("agent_without_code", {"escalated"}),
        ("unanswered_alert", {"resolved", "unresolved", "escalated"}),
        ("transfer", {"resolved", "unresolved", "escalated"}),
        ("abandoned", {"abandoned"}),
        ("timed_out", {"abandoned"}),
        ("connection_lost", {"unresolved"}),
        ("reopened", {"resolved", "unresolved", "escalated"}),
        ("late_wrapup", {"resolved", "unresolved", "escalated"}),
        ("told_by_attribute", {"resolved"}),
        ("going_on", {"unknown"}),
    ],
)
def test_each_story_has_the_resolutions_that_it_is_an_example_of(story: str, words: set[str]) -> None:
    assert {expected_resolution(one) for one in tell(story, count=40)} == words


def test_the_newest_wrapup_code_decides_and_one_that_nobody_explains_does_not() -> None:
    for conversation in tell("transfer"):
        newest = [event.body for event in events_of(conversation) if event.kind == "acw"][-1]["wrapupCode"]
        assert expected_resolution(conversation) == WRAPUP_WORDS[newest]
        assert expected_resolution(conversation, {}) == "unknown"
    assert "kept" in {expected_resolution(one, {NOT_RESOLVED: "kept"}) for one in tell("agent")}


def test_a_transfer_leaves_the_customer_and_a_reopening_brings_the_customer_back() -> None:
    for conversation in tell("transfer"):
        events = events_of(conversation)
        ends = [event.body["disconnectType"] for event in events if event.kind == "user.end"]
        assert (ends[0], len(ends)) == ("TRANSFER", 2)
        assert len({event.body["userId"] for event in events if event.kind == "user.end"}) == 2
        assert [event.kind for event in events].count("customer.end") == 1
    for conversation in tell("reopened"):
        customer = [event for event in events_of(conversation) if event.kind.startswith("customer")]
        assert [event.kind for event in customer] == ["customer.start", "customer.end"] * 2
        assert len({event.body["sessionId"] for event in customer}) == 2


def test_the_end_of_the_object_is_the_last_disconnect_and_that_of_the_record_comes_after_the_wrapup() -> None:
    for conversation in tell("late_wrapup"):
        left_at, ended_at = conversation.customer_left_at, conversation.ended_at
        assert left_at is not None and ended_at is not None
        assert ended_at - left_at >= timedelta(minutes=5)
        assert object_of(conversation)["endTime"] == clock.to_text(left_at)
        assert record_of(conversation)["conversationEnd"] == clock.to_text(ended_at)


def test_attributes_are_told_by_the_event_the_object_and_jobs_but_not_by_queries() -> None:
    (conversation,) = tell("told_by_attribute", count=1)
    customer = record_of(conversation, with_attributes=True)["participants"][0]
    told = [event.body["attributes"] for event in events_of(conversation) if event.kind == "attributes"]

    assert told[-1]["resolutionStatus"] == "resolved"
    assert customer["attributes"] == told[-1] == object_of(conversation)["participants"][0]["attributes"]
    assert all("attributes" not in participant for participant in record_of(conversation)["participants"])


def test_the_handle_time_is_talk_hold_and_after_call_work() -> None:
    sums = []
    for conversation in tell("agent", "voice"):
        (metrics,) = (
            {metric["name"]: metric["value"] for metric in session["metrics"]}
            for purpose, session in sessions_of(record_of(conversation)).values()
            if purpose == "agent"
        )
        parts = {name: metrics.get(name, 0) for name in ("tTalkComplete", "tHeldComplete", "tAcw")}
        assert metrics["tHandle"] == sum(parts.values())
        sums.append(parts)

    assert all(parts["tTalkComplete"] and parts["tAcw"] for parts in sums)
    assert {parts["tHeldComplete"] > 0 for parts in sums} == {True, False}


def test_a_flow_counts_its_outcomes_and_its_failures() -> None:
    for story, failed in (("bot_success", 0), ("bot_failure_then_agent", 1)):
        (conversation,) = tell(story, count=1)
        (names,) = (
            [metric["name"] for metric in session["metrics"]]
            for _, session in sessions_of(record_of(conversation)).values()
            if "flow" in session
        )
        assert [names.count(name) for name in ("nFlow", "tFlow", "nFlowOutcome", "nFlowOutcomeFailed")] == [
            1, 1, 1, failed,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "in_events", "in_objects", "in_records"),
    [
        ("client", "CLIENT", "client", "client"),
        ("conference_transfer", "CONFERENCE_TRANSFER", "transfer.conference", "conferenceTransfer"),
        ("no_answer_transfer", "NO_ANSWER_TRANSFER", "transfer.noanswer", "noAnswerTransfer"),
        ("dnd_transfer", "DND_TRANSFER", "transfer.donotdisturb", "dndTransfer"),
        ("dnd_endpoint", "DND_ENDPOINT", "endpoint.donotdisturb", "dndEndpoint"),
        ("transport_failure", "TRANSPORT_FAILURE", "transport.failure", "transportFailure"),
        ("session_expired", "SESSION_EXPIRED", "session.expired", "sessionExpired"),
    ],
)
def test_a_disconnect_is_spelled_as_each_place_spells_it(
    word: str, in_events: str, in_objects: str, in_records: str
) -> None:
    spelled = (disconnects.in_events(word), disconnects.in_objects(word), disconnects.in_records(word))

    assert spelled == (in_events, in_objects, in_records)


def test_the_topic_of_an_event_names_the_conversation_and_its_pattern_names_none() -> None:
    (conversation,) = tell("bot_success", count=1)
    ended = next(event for event in events_of(conversation) if event.kind == "customer.end")

    assert ended.topic == f"v2.detail.events.conversation.{conversation.id}.customer.end"
    assert ended.topic_pattern == "v2.detail.events.conversation.{id}.customer.end"
