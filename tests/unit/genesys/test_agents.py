"""Starting and counting: the 429 rule, what an answer must hold, and what a message is worth."""

from typing import Any

import pytest

from crm_sync.errors import AdapterFailure, Kind
from crm_sync.genesys import agents, evaluation, webhooks
from tests.unit.genesys.fakes import answer, client

LIMITED = answer(429)


def test_a_rate_limit_is_met_three_times_with_waits_of_one_and_two_seconds_between() -> None:
    made, api = client(LIMITED)
    waits: list[float] = []

    with pytest.raises(AdapterFailure) as failed:
        agents.start(made, {}, sleep=waits.append)

    assert failed.value.fault.kind is Kind.RATE_LIMITED
    assert waits == [1, 2]
    assert len(api.sent) == 3


def test_a_start_that_is_let_through_at_last_gives_the_conversation() -> None:
    made, api = client(LIMITED, LIMITED, answer(201, {"id": "c-1"}))

    assert agents.start(made, {"type": "chat"}, sleep=lambda _: None) == "c-1"
    assert [sent.json for sent in api.sent] == [{"type": "chat"}] * 3


def test_any_2xx_is_a_success() -> None:
    assert agents.start(client(answer(202, {"id": "c-1"}))[0], {}) == "c-1"


@pytest.mark.parametrize("status", [400, 403, 500, 502, 503])
def test_nothing_but_a_rate_limit_is_sent_again(status: int) -> None:
    made, api = client(answer(status))

    with pytest.raises(AdapterFailure):
        agents.start(made, {}, sleep=lambda _: pytest.fail("no wait was due"))

    assert len(api.sent) == 1


@pytest.mark.parametrize("body", [b"<html>", {}, {"id": 7}, {"id": ""}, []])
def test_a_success_that_names_no_conversation_is_ambiguous(body: object) -> None:
    with pytest.raises(AdapterFailure) as failed:
        agents.start(client(answer(201, body))[0], {})

    assert failed.value.fault.kind is Kind.AMBIGUOUS


@pytest.mark.parametrize(
    ("body", "count"),
    [({"entities": [], "total": 4}, 4), ({"entities": [{"id": "a"}, {"id": "b"}]}, 2), ({"total": 0}, 0)],
)
def test_the_count_is_the_total_or_else_the_length_of_the_list(body: object, count: int) -> None:
    made, api = client(answer(200, body))

    assert agents.active(made, "bot & co").count == count
    assert api.sent[0].params == {"to.id": "bot & co", "state": "active"}


def test_conversations_that_we_started_are_known_by_our_id() -> None:
    entities = [
        {"id": "c-1", "attributes": {"crmSyncSessionId": "s-1"}},
        {"id": "c-2", "attributes": {}},
        {"id": "c-3"},
        {"id": None, "attributes": {"crmSyncSessionId": "s-4"}},
        "nonsense",
    ]

    assert agents.active(client(answer(200, {"entities": entities}))[0], "bot").ours == {"s-1": "c-1"}


@pytest.mark.parametrize("body", [[], {}, {"total": "4"}, {"total": True}])
def test_a_count_that_is_none_is_not_taken_for_zero(body: object) -> None:
    with pytest.raises(AdapterFailure):
        agents.active(client(answer(200, body))[0], "bot")


def test_a_message_is_evaluated() -> None:
    made, api = client(answer(200, {"intentConfidence": 0.87, "sentimentScore": -0.2, "intentName": "CancelOrder"}))

    found = evaluation.evaluate(made, text="I want to cancel", bot_id="bot-1")

    assert (found.intent_name, found.intent_confidence, found.sentiment_score) == ("CancelOrder", 0.87, -0.2)
    assert api.sent[0].json == {"text": "I want to cancel", "botId": "bot-1"}


def test_an_unknown_sentiment_is_not_zero() -> None:
    assert (
        evaluation.evaluate(client(answer(200, {"intentConfidence": 1}))[0], text="x", bot_id="b").sentiment_score
        is None
    )


@pytest.mark.parametrize("body", [b"", [], {}, {"intentConfidence": "high"}, {"intentConfidence": None}])
def test_an_evaluation_without_confidence_is_none(body: object) -> None:
    with pytest.raises(AdapterFailure):
        evaluation.evaluate(client(answer(200, body))[0], text="x", bot_id="b")


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_a_list_of_webhooks_is_told_apart_from_one_without_webhooks(status: int) -> None:
    assert webhooks.registered(client(answer(status))[0]) is None
    assert webhooks.registered(client(answer(200, {"entities": []}))[0]) == []


@pytest.mark.parametrize(
    ("body", "found"), [({"id": "w-1"}, "w-1"), (b"", None), ({}, None), ({"id": 7}, None), ({"id": "x" * 201}, None)]
)
def test_a_registration_may_be_answered_with_anything(body: Any, found: str | None) -> None:
    made, api = client(answer(201, body))
    described = {"name": "n", "url": "https://a.test/webhooks/genesys", "events": ["conversation:ended"]}

    assert webhooks.create(made, **described, secret="") == found  # type: ignore[arg-type]
    assert api.sent[0].json == described
