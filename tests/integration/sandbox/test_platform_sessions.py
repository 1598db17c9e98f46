"""Bot flow sessions, language understanding and people as fallback, as the real platform has them."""

from collections.abc import Callable
from typing import Any

import pytest

from crm_sync.sandbox.oauth import OAuthClient
from tests.integration.sandbox.harness import Genesys

SESSIONS = "/api/v2/textbots/botflows/sessions"
DETECT = "/api/v2/languageunderstanding/domains/d-1/versions/v-1/detect"
PARTICIPANT = "/api/v2/conversations/c-1/participants/p-1"
SUPPORT = "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"
CHANNEL = {"name": "Messaging", "inputModes": ["Text"], "outputModes": ["Text"], "userAgent": {"name": "Open"}}
LAUNCH = {
    "flow": {"id": "12aeeeff-c0af-4f8b-b647-7a350630419f"},
    "externalSessionId": "ORD-998877-1",
    "language": "en-us",
    "inputData": {"variables": {"Flow.customer_segment": "premium"}},
    "channel": CHANNEL,
}
CALLBACK = {"queueId": SUPPORT, "callbackNumbers": ["+13175550100"], "data": {"order_id": "ORD-998877"}}


def launch(genesys: Genesys, **changes: Any) -> str:
    answer = genesys.call("POST", SESSIONS, LAUNCH | changes)
    answer.raise_for_status()
    return f"{SESSIONS}/{answer.json()['id']}/turns"


def said(text: str, previous: dict[str, Any]) -> dict[str, Any]:
    transcript = {"text": text, "confidence": 1.0}
    return {
        "previousTurn": {"id": previous["id"]},
        "inputEventType": "UserInput",
        "inputEventUserInput": {"mode": "Text", "alternatives": [{"transcript": transcript}]},
    }


def take(genesys: Genesys, turns: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = genesys.call("POST", turns, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_session_waits_for_input_until_the_bot_has_finished(genesys: Genesys) -> None:
    turns = launch(genesys)
    first = take(genesys, turns, {"inputEventType": "NoOp"})
    second = take(genesys, turns, said("I want to cancel my recent order", first))
    third = take(genesys, turns, said("bye", second))

    assert [turn["nextActionType"] for turn in (first, second, third)] == ["WaitForInput", "WaitForInput", "Exit"]
    assert "previousTurn" not in first
    assert third["previousTurn"] == {"id": second["id"]}
    exit_action = third["nextActionExit"]
    assert exit_action["reason"] == "TriggeredByFlow"
    assert exit_action["outputData"] == LAUNCH["inputData"]
    assert [outcome["outcomeValue"] for outcome in exit_action["flowOutcomes"]] == ["SUCCESS"]
    assert genesys.call("POST", turns, said("hello?", third)).status_code == 409
    (session,) = genesys.control.bot_sessions()
    assert (session["launch"], session["over"], session["turns"]) == (LAUNCH, True, [first, second, third])


@pytest.mark.parametrize(
    ("text", "reason", "outcome"),
    [
        ("Let me talk to a human!", "AgentRequestedByUser", "FAILURE"),
        ("gibberish", "RecognitionFailure", "FAILURE"),
        ("crash", "Error", "FAILURE"),
        ("Thanks, bye", "TriggeredByFlow", "SUCCESS"),
    ],
)
def test_what_the_customer_says_decides_how_the_bot_ends(
    genesys: Genesys, text: str, reason: str, outcome: str
) -> None:
    turns = launch(genesys, inputData=None)
    first = take(genesys, turns, {"inputEventType": "NoOp"})

    last = take(genesys, turns, said(text, first))

    assert last["nextActionExit"]["reason"] == reason
    assert last["nextActionExit"]["flowOutcomes"][0]["outcomeValue"] == outcome
    assert last["nextActionExit"]["outputData"] == {"variables": {}}


@pytest.mark.parametrize(
    ("kind", "action", "reason"),
    [
        ("UserDisconnect", "nextActionDisconnect", "TriggeredByUser"),
        ("ClientSessionExpired", "nextActionDisconnect", "SessionExpired"),
        ("Error", "nextActionExit", "Error"),
    ],
)
def test_an_input_event_may_end_a_session_too(genesys: Genesys, kind: str, action: str, reason: str) -> None:
    turns = launch(genesys)
    first = take(genesys, turns, {"inputEventType": "NoOp"})
    body = {"inputEventType": kind, "previousTurn": first}
    if kind == "Error":
        body["inputEventError"] = {"code": "x"}

    last = take(genesys, turns, body)

    assert last[action]["reason"] == reason


@pytest.mark.parametrize("kind", ["NoMatch", "NoInput"])
def test_silence_is_asked_again(genesys: Genesys, kind: str) -> None:
    turns = launch(genesys)
    first = take(genesys, turns, {"inputEventType": "NoOp"})

    assert take(genesys, turns, {"inputEventType": kind, "previousTurn": first})["nextActionType"] == "WaitForInput"


def test_a_repeated_external_session_id_makes_another_session(genesys: Genesys) -> None:
    assert launch(genesys) != launch(genesys)
    assert len(genesys.control.bot_sessions()) == 2


def test_a_turn_that_another_one_has_overtaken_is_refused(genesys: Genesys) -> None:
    turns = launch(genesys)
    first = take(genesys, turns, {"inputEventType": "NoOp"})
    second = take(genesys, turns, said("hello", first))

    assert genesys.call("POST", turns, said("hello", first)).status_code == 409
    assert take(genesys, turns, said("hello", second))["nextActionType"] == "WaitForInput"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputEventType": "Shout"},
        {"inputEventType": "NoOp", "previousTurn": {"id": "t-0"}},
        said("hello", {"id": "t-0"}),
    ],
)
def test_a_first_turn_is_a_bare_no_op(genesys: Genesys, body: dict[str, Any]) -> None:
    assert genesys.call("POST", launch(genesys), body).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"previousTurn": None},
        {"inputEventUserInput": None},
        {"inputEventError": {"code": "x"}},
        {"inputEventType": "NoInput"},
        {"inputEventType": "Error"},
        {"inputEventUserInput": {"mode": "Voice", "alternatives": [{"transcript": {"text": "a"}}]}},
        {"inputEventUserInput": {"mode": "Text", "alternatives": []}},
        {"inputEventUserInput": {"mode": "Text", "alternatives": [{"transcript": {}}]}},
    ],
)
def test_a_turn_brings_one_input_and_names_the_turn_before(genesys: Genesys, changes: dict[str, Any]) -> None:
    turns = launch(genesys)
    first = take(genesys, turns, {"inputEventType": "NoOp"})

    assert genesys.call("POST", turns, said("hello", first) | changes).status_code == 400
    assert genesys.call("POST", turns, said("hello", first)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"flow": {}}, "flow.id"),
        ({"externalSessionId": ""}, "externalSessionId"),
        ({"channel": None}, "channel.name"),
        ({"channel": CHANNEL | {"name": "Mail"}}, "channel.name"),
        ({"channel": CHANNEL | {"inputModes": []}}, "channel.inputModes"),
        ({"channel": CHANNEL | {"outputModes": ["Voice"]}}, "channel.outputModes"),
        ({"channel": CHANNEL | {"userAgent": {}}}, "channel.userAgent.name"),
        ({"language": 5}, "language"),
        ({"inputData": {"variables": ["a"]}}, "inputData.variables"),
        ({"inputData": {"variables": dict.fromkeys(map(str, range(51)), "a")}}, "inputData.variables"),
        ({"inputData": {"variables": {"a": "x" * 257}}}, "inputData.variables.a"),
        ({"inputData": {"variables": {"a": ["x" * 253]}}}, "inputData.variables.a"),
    ],
)
def test_a_launch_that_the_platform_would_not_take_is_refused_and_names_its_field(
    genesys: Genesys, changes: dict[str, Any], field: str
) -> None:
    answer = genesys.call("POST", SESSIONS, LAUNCH | changes)

    assert (answer.status_code, answer.json()["messageParams"]) == (400, {"field": field})
    assert genesys.control.bot_sessions() == []


def test_fifty_variables_of_256_characters_are_taken(genesys: Genesys) -> None:
    variables = dict.fromkeys(map(str, range(50)), "ü" * 256)

    assert genesys.call("POST", SESSIONS, LAUNCH | {"inputData": {"variables": variables}}).status_code == 200


def test_a_flow_that_is_no_running_bot_and_an_unknown_session_are_404(genesys: Genesys) -> None:
    paused = genesys.control.add_entry("flows", name="Paused bot", type="BOT", active=False)["id"]

    for flow_id in ("unknown", "b008976c-e085-43b7-b27d-9c0efd5fbfb5", paused):
        assert genesys.call("POST", SESSIONS, LAUNCH | {"flow": {"id": flow_id}}).status_code == 404
    assert genesys.call("POST", f"{SESSIONS}/s-1/turns", {"inputEventType": "NoOp"}).status_code == 404


@pytest.mark.parametrize(
    ("text", "intents"),
    [
        ("I want to cancel my recent order", [("CancelOrder", 0.87)]),
        ("gibberish", []),
        ("?!", []),
        ("Blue elephants dance at noon", [("Fallback", 0.31)]),
    ],
)
def test_detection_gives_intents_with_their_probability_or_none(
    genesys: Genesys, text: str, intents: list[tuple[str, float]]
) -> None:
    answer = genesys.call("POST", DETECT, {"input": {"text": text, "language": "en-gb"}}).json()

    assert [(intent["name"], intent["probability"]) for intent in answer["output"]["intents"]] == intents
    assert answer["input"] == {"text": text, "language": "en-gb"}
    assert (answer["version"]["id"], answer["version"]["language"]) == ("v-1", "en-gb")


@pytest.mark.parametrize("body", [{}, {"input": "text"}, {"input": {"text": 5}}])
def test_detection_needs_a_text(genesys: Genesys, body: dict[str, Any]) -> None:
    assert genesys.call("POST", DETECT, body).status_code == 400


@pytest.mark.parametrize("where", [{}, {"queueId": None, "routingData": {"queueId": SUPPORT}}])
def test_a_callback_gets_a_conversation_of_its_own(genesys: Genesys, where: dict[str, Any]) -> None:
    answer = genesys.call("POST", "/api/v2/conversations/callbacks", CALLBACK | where).json()

    (callback,) = genesys.control.callbacks()["callbacks"]
    assert answer["conversation"]["id"] == callback["conversationId"]
    assert answer["callbackIdentifiers"] == [{"type": "ACD", "id": callback["callbackId"]}]
    assert callback["asked"] == CALLBACK | where


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"callbackNumbers": []}, "callbackNumbers"),
        ({"callbackNumbers": "+13175550100"}, "callbackNumbers"),
        ({"callbackNumbers": [5]}, "callbackNumbers"),
        ({"queueId": None}, "queueId"),
        ({"queueId": "unknown"}, "queueId"),
        ({"queueId": None, "routingData": {"queueId": "unknown"}}, "queueId"),
        ({"data": {"turns": 3}}, "data"),
        ({"data": ["a"]}, "data"),
        ({"callbackScheduledTime": "soon"}, "callbackScheduledTime"),
    ],
)
def test_a_callback_that_the_platform_would_not_take_is_refused_and_names_its_field(
    genesys: Genesys, changes: dict[str, Any], field: str
) -> None:
    answer = genesys.call("POST", "/api/v2/conversations/callbacks", CALLBACK | changes)

    assert (answer.status_code, answer.json()["messageParams"]) == (400, {"field": field})
    assert genesys.control.callbacks()["callbacks"] == []


@pytest.mark.parametrize("queue", [{"queueId": SUPPORT}, {"queueName": "Support"}])
def test_a_conversation_is_handed_to_a_queue(genesys: Genesys, queue: dict[str, str]) -> None:
    asked = queue | {"transferType": "Unattended"}

    answer = genesys.call("POST", f"{PARTICIPANT}/replace/queue", asked)

    assert (answer.status_code, answer.content) == (204, b"")
    assert genesys.control.callbacks()["transfers"] == [
        {"conversationId": "c-1", "participantId": "p-1", "asked": asked}
    ]


@pytest.mark.parametrize("body", [{}, {"queueId": "unknown"}, {"queueId": SUPPORT, "transferType": "Blind"}])
def test_a_transfer_needs_a_known_queue_and_a_known_type(genesys: Genesys, body: dict[str, str]) -> None:
    assert genesys.call("POST", f"{PARTICIPANT}/replace/queue", body).status_code == 400


def test_attributes_of_a_participant_are_texts(genesys: Genesys) -> None:
    taken = genesys.call("PATCH", f"{PARTICIPANT}/attributes", {"attributes": {"order": "ORD-1"}})
    refused = [
        genesys.call("PATCH", f"{PARTICIPANT}/attributes", body).status_code
        for body in ({}, {"attributes": {"turns": 3}})
    ]

    assert (taken.status_code, refused) == (204, [400, 400])
    assert genesys.control.callbacks()["attributes"] == [
        {"conversationId": "c-1", "participantId": "p-1", "attributes": {"order": "ORD-1"}}
    ]


@pytest.mark.parametrize(
    ("method", "path", "permissions"),
    [
        ("POST", SESSIONS, "textbots:botFlowSession:execute"),
        ("POST", f"{SESSIONS}/s-1/turns", "textbots:botFlowSession:execute"),
        ("POST", DETECT, "languageUnderstanding:nluDomainVersion:view, dialog:botVersion:view"),
        ("POST", "/api/v2/conversations/callbacks", "conversation:callback:create"),
        (
            "POST",
            f"{PARTICIPANT}/replace/queue",
            "conversation:communication:blindTransfer, conversation:communication:blindTransferQueue",
        ),
        ("PATCH", f"{PARTICIPANT}/attributes", ""),
    ],
)
def test_every_call_needs_a_token_and_one_of_its_permissions(
    make_genesys: Callable[..., Genesys], method: str, path: str, permissions: str
) -> None:
    without = make_genesys(client=OAuthClient(permissions=frozenset()))
    having = make_genesys(client=OAuthClient(permissions=frozenset(permissions.split(", ")[-1:])))

    refused = without.call(method, path, {})

    if permissions:
        assert (refused.status_code, refused.json()["messageParams"]) == (403, {"permissions": permissions})
    assert having.call(method, path, {}).status_code == 400
    assert without.session.request(method, without.url + path, json={}).status_code == 401
