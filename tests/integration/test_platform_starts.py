"""Sessions on the real platform: started with a bot or with people, once, and never beyond the limit."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from crm_sync import follow
from crm_sync.errors import Conflict
from crm_sync.genesys.session_request import InvalidRequest
from crm_sync.services import Services
from tests.integration.bots import BOT, CALLBACKS, LAUNCH, LIVE, NUMBER, SUPPORT, TURNS, Make, limits, start
from tests.integration.pretend import PretendGenesys, process

CALM = "I want to cancel my recent order"
VAGUE = "hmm"


@pytest.fixture
def make(migrated_url: str, genesys: PretendGenesys) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **change: stack.enter_context(
            process(migrated_url, genesys.url, registration="none", sessions=limits(**change))
        )


@pytest.fixture
def services(make: Make) -> Services:
    return make()


def test_a_session_starts_with_the_bot_under_our_own_id_and_hears_the_first_message(
    services: Services, genesys: PretendGenesys
) -> None:
    outcome = start(services, message=CALM, attributes={"Flow.order": "ORD-998877", "Flow.items": [1, None]})

    session = outcome.session
    assert (session.state, session.conversation_id, session.bot_state) == ("started", None, "waiting")
    assert (session.intent_name, session.intent_confidence, session.sentiment_score) == ("CancelOrder", 0.87, None)
    (led,) = genesys.control.bot_sessions()
    assert led["id"] == session.bot_session_id
    assert led["launch"] == {
        "flow": {"id": BOT},
        "externalSessionId": session.id,
        "language": "en-us",
        "inputData": {"variables": {"Flow.order": "ORD-998877", "Flow.items": "[1,null]"}},
        "channel": {
            "name": "Messaging",
            "inputModes": ["Text"],
            "outputModes": ["Text"],
            "userAgent": {"name": "Open"},
        },
    }
    assert [turn["id"] for turn in led["turns"]][1:] == [session.turn_id]
    said = outcome.said
    assert said is not None and said.next_action == "WaitForInput"
    assert said.prompts[0].startswith("Hello!") and len(said.prompts) == 2


def test_the_channel_follows_from_the_type_unless_it_is_set(make: Make, genesys: PretendGenesys) -> None:
    start(make(), type="chat")
    start(make(channel="Call", user_agent="Phone", language="de-de"), type="chat")

    first, second = (led["launch"] for led in genesys.control.bot_sessions())
    assert (first["channel"]["name"], first["channel"]["userAgent"]["name"]) == ("Chat", "GenesysWebWidget")
    assert (second["channel"]["name"], second["channel"]["userAgent"]["name"]) == ("Call", "Phone")
    assert second["language"] == "de-de"


def test_low_confidence_goes_to_the_queue_of_people_as_a_callback(services: Services, genesys: PretendGenesys) -> None:
    outcome = start(services, message=VAGUE, attributes={"order": "ORD-998877"}, callback_number=NUMBER)

    session = outcome.session
    (callback,) = genesys.control.callbacks()["callbacks"]
    assert (session.state, session.escalated, session.queue_id) == ("started", True, SUPPORT)
    assert session.conversation_id == callback["conversationId"]
    assert "confidence" in (session.reason or "") and "is below 0.6" in (session.reason or "")
    assert callback["asked"] == {
        "queueId": SUPPORT,
        "callbackNumbers": [NUMBER],
        "callbackUserName": "Ann",
        "data": {"order": "ORD-998877", "escalation_reason": session.reason, "crmSyncSessionId": session.id},
    }
    assert genesys.control.bot_sessions() == []


def test_a_live_conversation_is_moved_to_the_queue_of_people(services: Services, genesys: PretendGenesys) -> None:
    session = start(services, turns=11, callback_number=NUMBER, **LIVE).session

    told = genesys.control.callbacks()
    assert (session.state, session.escalated, session.conversation_id) == ("started", True, "c-live")
    assert told["callbacks"] == []
    assert told["transfers"] == [
        {
            "conversationId": "c-live",
            "participantId": "p-1",
            "asked": {"queueId": SUPPORT, "transferType": "Unattended"},
        }
    ]


@pytest.mark.parametrize("change", [{}, {"conversation_id": "c-live"}])
def test_a_start_that_needs_people_who_cannot_be_reached_is_refused(
    services: Services, genesys: PretendGenesys, change: dict[str, Any]
) -> None:
    session = start(services, message=VAGUE, **change).session

    assert (session.state, session.escalated) == ("refused", False)
    assert "callback_number" in (session.reason or "") and (session.reason or "").endswith(".")
    assert genesys.control.bot_sessions() == [] and genesys.control.callbacks()["callbacks"] == []


def test_without_a_queue_of_people_the_remedy_is_told(make: Make) -> None:
    session = start(make(human_queue_id=None), message=VAGUE, callback_number=NUMBER).session

    assert session.state == "refused" and "human_queue_id" in (session.reason or "")


def test_without_language_understanding_nothing_is_evaluated(make: Make, genesys: PretendGenesys) -> None:
    session = start(make(nlu_domain_id=None, nlu_version_id=None), message=VAGUE).session

    assert (session.state, session.intent_confidence) == ("started", None)
    assert not any("languageunderstanding" in call["path"] for call in genesys.control.traffic())


def test_when_nothing_can_be_evaluated_people_take_over(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path="*/detect", status=500)

    session = start(services, message=CALM, callback_number=NUMBER).session

    assert (session.state, session.escalated, session.reason) == ("started", True, "evaluation unavailable")


def test_a_bot_that_gives_up_in_its_first_turns_leaves_the_customer_to_people(
    services: Services, genesys: PretendGenesys
) -> None:
    outcome = start(services, message="cancel, and let me talk to a person", callback_number=NUMBER)

    session = outcome.session
    (callback,) = genesys.control.callbacks()["callbacks"]
    assert (session.state, session.escalated, session.conversation_id) == ("started", True, callback["conversationId"])
    assert (session.bot_state, session.end_reason, session.resolution) == ("over", "AgentRequestedByUser", "escalated")
    assert callback["asked"]["data"]["escalation_reason"] == "the bot ended with AgentRequestedByUser"
    assert session.handover is None

    refused = start(services, message="cancel, and let me talk to a person").session
    assert refused.state == "refused" and "AgentRequestedByUser" in (refused.reason or "")


def test_at_the_limit_a_session_is_refused_with_the_count_of_our_own_record(
    services: Services, genesys: PretendGenesys
) -> None:
    begun = [start(services).session for _ in range(5)]
    assert {session.state for session in begun} == {"started"}

    refused = start(services).session
    assert refused.state == "refused" and "5/5" in (refused.reason or "")
    assert len(genesys.control.bot_sessions()) == 5
    assert genesys.calls("GET", "/api/v2/conversations") == 0

    _settle(services, begun[0].id, "ended_at = requested_at")
    assert start(services).session.state == "started"
    _settle(services, begun[1].id, "turn_at = '2026-01-01 00:00:00.000000'")
    assert start(services).session.state == "started"
    assert start(services).session.state == "refused"


def test_sessions_in_the_hands_of_people_take_no_place_of_the_bot(make: Make) -> None:
    services = make(max_concurrent=1)
    people = [start(services, message=VAGUE, callback_number=NUMBER).session for _ in range(2)]

    assert {session.state for session in people} == {"started"}
    assert start(services).session.state == "started"
    assert start(services, message=VAGUE, callback_number=NUMBER).session.state == "refused"


def test_sessions_that_start_at_once_do_not_pass_the_limit_together(make: Make, genesys: PretendGenesys) -> None:
    processes = [make() for _ in range(3)]
    with ThreadPoolExecutor(9) as pool:
        states = list(pool.map(lambda number: start(processes[number % 3]).session.state, range(9)))

    assert states.count("started") == 5 == len(genesys.control.bot_sessions())
    assert set(states) == {"started", "refused"}


@pytest.mark.parametrize("path", [LAUNCH, TURNS])
def test_a_start_whose_answer_was_lost_is_uncertain_and_its_key_never_posts_again(
    services: Services, genesys: PretendGenesys, path: str
) -> None:
    genesys.control.add_fault(path=path, method="POST", lose_answer=True)

    lost = start(services, key="k-1", message=CALM).session
    again = start(services, key="k-1", message=CALM).session

    assert lost.state == "uncertain" and "Idempotency-Key" in (lost.reason or "")
    assert again == lost
    assert genesys.calls("POST", LAUNCH) == 1
    (led,) = genesys.control.bot_sessions()
    assert led["launch"]["externalSessionId"] == lost.id


def test_a_callback_whose_answer_was_lost_is_not_asked_for_twice(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path=CALLBACKS, lose_answer=True)

    states = [start(services, key="k-1", message=VAGUE, callback_number=NUMBER).session.state for _ in range(2)]

    assert states == ["uncertain"] * 2
    assert len(genesys.control.callbacks()["callbacks"]) == 1


def test_a_bot_that_gives_up_at_once_and_a_callback_that_is_lost_leave_it_uncertain(
    services: Services, genesys: PretendGenesys
) -> None:
    genesys.control.add_fault(path=CALLBACKS, lose_answer=True)
    change = {"message": "cancel, and let me talk to a person", "callback_number": NUMBER}

    states = [start(services, key="k-1", **change).session.state for _ in range(2)]

    assert states == ["uncertain"] * 2
    assert len(genesys.control.callbacks()["callbacks"]) == len(genesys.control.bot_sessions()) == 1


def test_a_rate_limited_launch_is_sent_again_and_a_refused_one_told_with_its_permission(
    services: Services, genesys: PretendGenesys
) -> None:
    genesys.control.add_fault(path=LAUNCH, status=429, times=2)
    assert start(services).session.state == "started"
    assert len(genesys.control.bot_sessions()) == 1

    genesys.control.set_permissions(["conversation:callback:create"])
    failed = start(services).session
    assert failed.state == "failed" and "textbots:botFlowSession:execute" in (failed.reason or "")


def test_an_unknown_bot_fails_with_a_sentence(services: Services) -> None:
    session = start(services, to=[{"id": "no-such-bot"}]).session

    assert session.state == "failed" and (session.reason or "").endswith(".")


def test_a_live_conversation_has_one_session_until_it_is_known_to_have_none(
    services: Services, genesys: PretendGenesys
) -> None:
    genesys.control.add_fault(path=LAUNCH, status=400)
    assert start(services, **LIVE).session.state == "failed"

    led = start(services, **LIVE).session
    assert (led.state, led.conversation_id) == ("started", "c-live")
    assert genesys.control.bot_sessions()[0]["launch"]["conversationId"] == "c-live"
    with pytest.raises(Conflict, match="conversation_id"):
        start(services, **LIVE)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"attributes": {f"n{number}": "🙂" * 256 for number in range(40)}}, "limit is 40960"),
        ({"attributes": {f"n{number}": "x" for number in range(51)}}, "at most 50"),
        ({"attributes": {"long": "x" * 257}}, "256 characters"),
        ({"to": []}, "to is missing"),
    ],
)
def test_what_the_platform_would_not_take_is_refused_in_words_before_anything_is_sent(
    services: Services, genesys: PretendGenesys, change: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        start(services, **change)

    assert any(word in fault for fault in invalid.value.faults)
    assert all(fault.endswith(".") for fault in invalid.value.faults)
    assert genesys.control.traffic() == []


def test_a_session_is_told_with_its_bot(services: Services) -> None:
    session = start(services, message=CALM).session

    told = follow.show(services, session.id)
    bot: Any = told["bot"]
    assert (bot["session_id"], bot["state"], bot["ended_at"]) == (session.bot_session_id, "waiting", None)
    assert told["conversation_id"] is None and told["closure"] is None


def _settle(services: Services, session_id: str, change: str) -> None:
    if services.database.is_postgresql:
        change = change.replace("00.000000'", "00.000000+00'")
    with services.database.write() as connection:
        connection.execute(text(f"UPDATE agent_sessions SET {change} WHERE id = :id"), {"id": session_id})
