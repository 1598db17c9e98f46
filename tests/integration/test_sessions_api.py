"""The API's sessions: who may start them, and which answer tells what."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from crm_sync.app import create_app
from crm_sync.services import Services
from crm_sync.store import tokens
from tests.integration import bots
from tests.integration.pretend import PretendGenesys, process

PATH = "/api/v1/sessions"
START = "/api/v2/conversations"
BODY: dict[str, Any] = {"to": [{"id": "bot-id-123"}], "from": {"id": "user-456"}, "type": "chat"}


@pytest.fixture
def services(migrated_url: str, genesys: PretendGenesys) -> Iterator[Services]:
    with process(migrated_url, genesys.url) as made:
        yield made


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def post(services: Services, client: FlaskClient) -> Callable[..., Any]:
    """Ask for a session as an operator."""
    with services.database.write() as connection:
        headers = {"Authorization": f"Bearer {tokens.create(connection, name='test', role='operator')}"}
    return lambda body=BODY, **more: client.post(
        PATH, **{"json": body} | more | {"headers": headers | more.get("headers", {})}
    )


Post = Callable[..., Any]


def test_a_started_session_is_answered_201_and_can_be_read_by_a_reader(
    services: Services, client: FlaskClient, post: Post
) -> None:
    answer = post(BODY | {"message": "I want to cancel my recent order"})

    assert answer.status_code == 201
    told = answer.get_json()
    assert told["state"] == "started" and "error" not in told
    assert told["evaluation"] == {"intent_name": "CancelOrder", "intent_confidence": 0.87, "sentiment_score": -0.2}
    with services.database.write() as connection:
        reader = tokens.create(connection, name="test", role="reader")
    read = client.get(answer.headers["Location"], headers={"Authorization": f"Bearer {reader}"})
    assert (read.status_code, read.get_json()) == (200, told)


def test_a_reader_and_a_stranger_start_nothing(
    services: Services, client: FlaskClient, genesys: PretendGenesys
) -> None:
    with services.database.write() as connection:
        reader = tokens.create(connection, name="test", role="reader")

    assert client.post(PATH, json=BODY).status_code == 401
    assert client.post(PATH, json=BODY, headers={"Authorization": f"Bearer {reader}"}).status_code == 403
    assert genesys.control.traffic() == []


def test_a_repeated_key_is_answered_200_with_the_same_session(post: Post, genesys: PretendGenesys) -> None:
    first, again = (post(headers={"Idempotency-Key": "k-1"}) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json() == again.get_json()
    assert len(genesys.control.conversations()) == 1


def test_a_request_that_is_not_valid_is_answered_400_with_all_faults(post: Post, genesys: PretendGenesys) -> None:
    answer = post({"to": [], "turns": -1})

    assert answer.status_code == 400
    told = answer.get_json()
    assert len(told["faults"]) == 4
    assert all(fault in told["error"] for fault in told["faults"])
    assert genesys.control.traffic() == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"json": None, "data": b"{", "content_type": "application/json"}, 400),
        ({"json": None, "data": b"{}", "content_type": "text/plain"}, 415),
        ({"json": None, "data": b" " * 262_145, "content_type": "application/json"}, 413),
        ({"headers": {"Idempotency-Key": "x" * 201}}, 400),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(post: Post, more: dict[str, Any], status: int) -> None:
    answer = post(**more)

    assert answer.status_code == status
    assert answer.get_json()["error"].endswith(".")


def test_a_bot_at_its_limit_is_answered_409(post: Post) -> None:
    statuses = [post().status_code for _ in range(6)]
    refused = post()

    assert statuses == [201] * 5 + [409]
    assert refused.status_code == 409
    assert "5/5" in refused.get_json()["error"] and refused.get_json()["state"] == "refused"


@pytest.mark.parametrize(
    ("fault", "status", "state"),
    [
        ({"status": 403}, 502, "failed"),
        ({"status": 500}, 502, "failed"),
        ({"status": 429, "retry_after": 60}, 503, "failed"),
        ({"status": 504}, 504, "uncertain"),
        ({"lose_answer": True}, 201, "started"),
    ],
)
def test_what_genesys_does_not_do_is_told_apart(
    post: Post, genesys: PretendGenesys, fault: dict[str, Any], status: int, state: str
) -> None:
    genesys.control.add_fault(path=START, method="POST", **fault)

    answer = post()

    told = answer.get_json()
    assert (answer.status_code, told["state"]) == (status, state)
    assert told["id"] and (state == "started" or told["error"].endswith("."))
    if status == 503:
        assert 50 <= int(answer.headers["Retry-After"]) <= 60


@pytest.fixture
def platform(migrated_url: str, genesys: PretendGenesys) -> Iterator[Callable[..., Any]]:
    """Ask, as an operator, a service that speaks the real platform's dialect."""
    with process(migrated_url, genesys.url, registration="none", sessions=bots.limits()) as made:
        with made.database.write() as connection:
            headers = {"Authorization": f"Bearer {tokens.create(connection, name='test', role='operator')}"}
        asker = create_app(made).test_client()
        yield lambda path=PATH, **asked: asker.post(path, json=asked, headers=headers)


def test_a_session_with_a_bot_is_answered_with_its_prompts_and_led_turn_by_turn(platform: Post) -> None:
    begun = platform(**bots.body(message="Where is my parcel?", callback_number=bots.NUMBER))
    assert begun.status_code == 201
    told = begun.get_json()
    assert (told["conversation_id"], told["next_action"], len(told["prompts"])) == (None, "WaitForInput", 2)

    turns = f"{begun.headers['Location']}/turns"
    asked = platform(turns, text="It is blue")
    assert (asked.status_code, asked.get_json()["next_action"]) == (200, "WaitForInput")
    handed = platform(turns, text="I want a human")
    assert handed.status_code == 200
    assert handed.get_json()["escalation"] == {"queue_id": bots.SUPPORT}
    assert handed.get_json()["bot"]["end_reason"] == "AgentRequestedByUser"
    over = platform(turns, text="hello?")
    assert over.status_code == 409 and over.get_json()["error"].endswith(".")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"status": 403}, 502),
        ({"status": 429, "retry_after": 60}, 503),
        ({"status": 504}, 504),
        ({"lose_answer": True}, 504),
    ],
)
def test_a_turn_that_is_not_answered_is_told_apart(
    platform: Post, genesys: PretendGenesys, fault: dict[str, Any], status: int
) -> None:
    turns = f"{platform(**bots.body()).headers['Location']}/turns"
    genesys.control.add_fault(path=bots.TURNS, **fault)

    answer = platform(turns, text="hello")

    assert answer.status_code == status
    assert answer.get_json()["error"].endswith(".")
    if status == 503:
        assert 50 <= int(answer.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("asked", [{}, {"text": 7}, {"text": " "}, {"text": "hello", "more": 1}])
def test_a_turn_without_a_text_is_refused(platform: Post, asked: dict[str, Any]) -> None:
    turns = f"{platform(**bots.body()).headers['Location']}/turns"

    assert platform(turns, **asked).status_code == 400


def test_on_the_platform_what_is_refused_has_the_status_of_the_tutorial(platform: Post) -> None:
    too_large = platform(**bots.body(attributes={f"n{number}": "🙂" * 256 for number in range(41)}))
    assert too_large.status_code == 400 and "40960" in too_large.get_json()["error"]
    assert platform(**bots.body(to=[])).status_code == 400
    needs_people = platform(**bots.body(message="hmm"))
    assert needs_people.status_code == 409 and "callback_number" in needs_people.get_json()["error"]
    statuses = [platform(**bots.body()).status_code for _ in range(6)]
    assert statuses == [201] * 5 + [409]


def test_nobody_but_an_operator_says_something(client: FlaskClient) -> None:
    assert client.post(f"{PATH}/any/turns", json={"text": "hello"}).status_code == 401
