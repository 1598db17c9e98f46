"""Bots and people of the real platform: what a turn says, what a text is worth, how people can be reached."""

from typing import Any

import pytest

from crm_sync.errors import AdapterFailure, Kind
from crm_sync.genesys import bot_flows, evaluation, people, virtual_agents
from crm_sync.genesys.people import Handover
from crm_sync.settings_sessions import SessionSettings
from tests.unit.genesys.fakes import answer, client

UNDERSTANDING = SessionSettings(nlu_domain_id="d/1", nlu_version_id="v-1")
SUCCESS, FAILURE = ({"outcomeValue": value} for value in ("SUCCESS", "FAILURE"))


@pytest.mark.parametrize(
    ("action", "reason", "outcomes", "resolution", "needs_people"),
    [
        ("Exit", "AgentRequestedByUser", [SUCCESS], "escalated", True),
        ("Exit", "RecognitionFailure", [], "unresolved", True),
        ("Disconnect", "Error", [], "unresolved", True),
        ("Exit", "TriggeredByFlow", [SUCCESS], "resolved", False),
        ("Exit", "TriggeredByFlow", [SUCCESS, FAILURE], "unresolved", False),
        ("Exit", "TriggeredByUser", [], "unknown", False),
        ("Disconnect", "SessionExpired", [], "abandoned", False),
        ("Exit", None, None, "unknown", False),
    ],
)
def test_the_last_turn_says_how_the_session_was_resolved(
    action: str, reason: str | None, outcomes: list[Any] | None, resolution: str, needs_people: bool
) -> None:
    end = {"reason": reason, "flowOutcomes": outcomes}

    turn = bot_flows.read_turn({"id": "t-1", "nextActionType": action, f"nextAction{action}": end})

    assert (turn.resolution, turn.needs_people) == (resolution, needs_people)
    assert turn.end_reason == (reason or action)


def test_a_turn_tells_its_prompts_and_that_the_bot_waits() -> None:
    segments = [{"type": "Text", "text": "Which order?"}, {"type": "Text"}, None, {"text": "Take your time."}]

    turn = bot_flows.read_turn(
        {"id": "t-1", "nextActionType": "WaitForInput", "prompts": {"textPrompts": {"segments": segments}}}
    )

    assert turn.prompts == ("Which order?", "Take your time.")
    assert (turn.end_reason, turn.resolution, turn.needs_people) == (None, None, False)
    assert "order" not in repr(turn)


@pytest.mark.parametrize(
    "body", [[], {}, {"id": "t-1"}, {"nextActionType": "Exit"}, {"id": 7, "nextActionType": "Exit"}]
)
def test_an_answer_that_is_no_turn_is_ambiguous(body: Any) -> None:
    with pytest.raises(AdapterFailure) as failed:
        bot_flows.read_turn(body)

    assert failed.value.fault.kind is Kind.AMBIGUOUS


def test_the_first_turn_says_nothing_and_each_later_one_names_the_turn_before() -> None:
    made, api = client(answer(200, {"id": "t-1", "nextActionType": "WaitForInput"}))

    bot_flows.take_turn(made, "s/1")
    bot_flows.take_turn(made, "s/1", previous="t-1", text="hello")

    first, second = api.sent
    assert first.json == {"inputEventType": "NoOp"}
    assert second.url.endswith("/api/v2/textbots/botflows/sessions/s%2F1/turns")
    assert second.json["previousTurn"] == {"id": "t-1"} and second.json["inputEventType"] == "UserInput"
    assert second.json["inputEventUserInput"]["alternatives"][0]["transcript"]["text"] == "hello"


@pytest.mark.parametrize(
    ("intents", "name", "confidence"),
    [
        ([{"name": "A", "probability": 0.2}, {"name": "B", "probability": 0.87}], "B", 0.87),
        ([], None, 0.0),
        ([{"probability": 1}], None, 1.0),
    ],
)
def test_the_likeliest_intent_counts_and_the_sentiment_is_unknown(
    intents: list[Any], name: str | None, confidence: float
) -> None:
    made, api = client(answer(200, {"output": {"intents": intents}}))

    found = evaluation.detect(made, "hello", UNDERSTANDING)

    assert found is not None
    assert (found.intent_name, found.intent_confidence, found.sentiment_score) == (name, confidence, None)
    assert api.sent[0].url.endswith("/languageunderstanding/domains/d%2F1/versions/v-1/detect")
    assert api.sent[0].json == {"input": {"text": "hello", "language": "en-us"}}


@pytest.mark.parametrize("body", [[], {}, {"output": {}}, {"output": {"intents": [{"name": "A"}]}}])
def test_intents_without_a_probability_are_not_taken_for_doubt(body: Any) -> None:
    with pytest.raises(AdapterFailure):
        evaluation.detect(client(answer(200, body))[0], "hello", UNDERSTANDING)


def test_without_a_domain_nobody_is_asked() -> None:
    made, api = client(answer(500))

    assert evaluation.detect(made, "hello", SessionSettings()) is None
    assert api.sent == []


@pytest.mark.parametrize(
    ("handover", "queue_id", "word"),
    [
        (Handover(callback_number="+1"), None, "human_queue_id"),
        (Handover(), "q-1", "callback_number"),
        (Handover(conversation_id="c-1"), "q-1", "participant_id"),
        (Handover(callback_number="+1"), "q-1", None),
        (Handover(conversation_id="c-1", participant_id="p-1"), "q-1", None),
    ],
)
def test_what_keeps_people_from_answering_is_told(handover: Handover, queue_id: str | None, word: str | None) -> None:
    told = handover.obstacle(queue_id)

    assert told is None if word is None else word in (told or "")


def test_a_callback_that_names_no_conversation_is_ambiguous() -> None:
    made, api = client(answer(200, {"conversation": {}}))

    with pytest.raises(AdapterFailure) as failed:
        people.hand_over(made, Handover(callback_number="+1"), session_id="s-1", queue_id="q-1", reason="r")

    assert failed.value.fault.kind is Kind.AMBIGUOUS
    assert len(api.sent) == 1


def test_the_dialect_chooses_the_virtual_agents() -> None:
    made, _ = client(answer(200))
    assert isinstance(virtual_agents.of(made, SessionSettings()), virtual_agents.Platform)

    made.dialect = "tutorial"
    assert isinstance(virtual_agents.of(made, SessionSettings()), virtual_agents.Tutorial)
