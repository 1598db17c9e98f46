"""What may be asked for: the contract's rules, one sentence for each fault, all at once."""

from typing import Any

import pytest
from pydantic_core import from_json, to_json

from crm_sync.errors import BadRequest
from crm_sync.genesys import session_request
from crm_sync.genesys.session_request import InvalidRequest
from crm_sync.settings_sessions import SessionSettings

LIMIT = 40_960
GOOD: dict[str, Any] = {
    "to": [{"id": "bot-id-123", "name": "Support Bot"}],
    "from": {"id": "user-456"},
    "type": "chat",
    "attributes": {"order_id": "ORD-998877", "nested": {"any": [1, None, True]}},
    "message": "I want to cancel my recent order",
    "turns": 3,
}


def test_a_valid_request_is_sent_as_the_contract_says() -> None:
    request = _parse(GOOD)

    assert (request.bot_id, request.message, request.turns) == ("bot-id-123", GOOD["message"], 3)
    assert request.as_object(session_id="s-1", queue_id=None) == {
        "to": [{"id": "bot-id-123", "name": "Support Bot"}],
        "from": {"id": "user-456"},
        "type": "chat",
        "attributes": GOOD["attributes"] | {"crmSyncSessionId": "s-1"},
    }
    assert request.as_object(session_id="s-1", queue_id="q-1")["routing"] == {"queueId": "q-1"}


def test_what_may_be_left_out_may_be_left_out() -> None:
    request = _parse({"to": [{"id": "b", "name": ""}], "from": {"name": "Ada"}, "type": "chat"})

    assert (request.message, request.turns, request.attributes) == (None, 1, {})
    assert request.as_object(session_id="s", queue_id=None)["to"] == [{"id": "b"}]


@pytest.mark.parametrize("character", ["a", "é", "🙂", "<"])
def test_exactly_the_limit_passes_and_one_byte_more_is_refused_with_the_limit(character: str) -> None:
    session_id = "0" * 36
    empty = _parse({**GOOD, "attributes": {"pad": ""}}).as_object(session_id=session_id, queue_id=None)
    room = LIMIT - len(to_json(empty["attributes"]))
    width = len(character.encode())
    fitting = character * (room // width) + "x" * (room % width)

    sent = _parse({**GOOD, "attributes": {"pad": fitting}}).as_object(session_id=session_id, queue_id=None)
    assert len(to_json(sent["attributes"])) == LIMIT
    (fault,) = _faults({**GOOD, "attributes": {"pad": fitting + "x"}})
    assert "40961 bytes" in fault and "limit is 40960" in fault


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"to": None}, "to is missing"),
        ({"to": []}, "to is missing"),
        ({"to": [{}]}, "to[0] is missing"),
        ({"to": ["bot"]}, "to[0] is missing"),
        ({"to": [{"name": "Bot"}]}, "to[0] has no id"),
        ({"to": [{"id": "b", "extra": 1}]}, "to[0] has more"),
        ({"to": [{"id": 7}]}, "to[0].id"),
        ({"from": None}, "from is missing"),
        ({"from": {"id": ""}}, "from is missing"),
        ({"from": {"id": "x" * 201}}, "from.id has 201 characters"),
        ({"from": {"id": "a\0b"}}, "from.id holds a NUL"),
        ({"type": ""}, "type is missing"),
        ({"type": 7}, "type must be a text"),
        ({"attributes": []}, "attributes must be"),
        ({"attributes": {"crmSyncSessionId": "mine"}}, "crmSyncSessionId"),
        ({"attributes": {"n": float("inf")}}, "number that is too large"),
        ({"message": "   "}, "message must be a text"),
        ({"message": ["hi"]}, "message must be a text"),
        ({"turns": -1}, "turns"),
        ({"turns": True}, "turns"),
        ({"turns": 1.5}, "turns"),
        ({"turns": None}, "turns"),
        ({"routing": {"queueId": "q"}}, "routing is decided"),
        ({"metadata": {}}, "1 of the fields"),
    ],
)
def test_each_fault_is_told_in_one_sentence(change: dict[str, Any], word: str) -> None:
    (fault,) = _faults(GOOD | change)

    assert word in fault
    assert fault.endswith(".")


def test_all_faults_are_told_at_once() -> None:
    faults = _faults({"to": [], "turns": -1, "attributes": 7})

    assert len(faults) == 5


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_a_request_must_be_an_object(value: Any) -> None:
    assert len(_faults(value)) == 1


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":NaN}', b"\xff", b'"\\ud800"', b"[" * 300 + b"]" * 300])
def test_a_body_that_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        session_request.decode(body)


def test_a_number_beyond_json_is_refused_from_the_wire_too() -> None:
    value = session_request.decode(b'{"to":[{"id":"b"}],"from":{"id":"u"},"type":"chat","attributes":{"n":1e999}}')

    assert len(_faults(value)) == 1


def test_on_the_platform_exactly_the_limit_passes_and_one_byte_more_is_refused_with_the_limit() -> None:
    attributes = {f"n{number:02}": "🙂" * 204 for number in range(49)}
    session_id = "0" * 36
    room = LIMIT - len(to_json({**attributes, "pad": "", "crmSyncSessionId": session_id}))
    pad = "🙂" * (room // 4) + "x" * (room % 4)

    request = _parse_for_platform({**GOOD, "attributes": {**attributes, "pad": pad}})
    assert len(to_json({**request.texts(), "crmSyncSessionId": session_id})) == LIMIT
    (fault,) = _platform_faults({**GOOD, "attributes": {**attributes, "pad": pad + "x"}})
    assert "40961 bytes" in fault and "limit is 40960" in fault


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"attributes": {f"n{number}": 1 for number in range(51)}}, "at most 50"),
        ({"attributes": {"a": "x" * 257, "b": "x" * 256}}, "1 values of more than 256 characters"),
        ({"attributes": {"a": ["x" * 253]}}, "256 characters"),
        ({"attributes": {"n": float("inf")}}, "number that is too large"),
        ({"participant_id": "p-1"}, "without a conversation_id"),
        ({"callback_number": 7}, "callback_number must be a text"),
        ({"conversation_id": "x" * 201}, "conversation_id has 201 characters"),
        ({"metadata": {}}, "callback_number, conversation_id, participant_id"),
    ],
)
def test_each_fault_of_the_platform_is_told_in_one_sentence(change: dict[str, Any], word: str) -> None:
    (fault,) = _platform_faults(GOOD | change)

    assert word in fault and fault.endswith(".")


def test_on_the_platform_attributes_are_texts() -> None:
    attributes = {"text": "é", "number": 1.5, "none": None, "list": [1, {"a": True}]}

    request = _parse_for_platform(GOOD | {"attributes": attributes, "callback_number": "+13175550100"})

    assert request.texts() == {"text": "é", "number": "1.5", "none": "null", "list": '[1,{"a":true}]'}
    assert request.callback_number == "+13175550100" and "3175550100" not in repr(request)


def test_the_tutorial_knows_no_callbacks() -> None:
    (fault,) = _faults(GOOD | {"callback_number": "+13175550100"})

    assert "1 of the fields" in fault


def test_no_repr_shows_what_the_customer_said() -> None:
    assert "cancel" not in repr(_parse(GOOD)) and "ORD-998877" not in repr(_parse(GOOD))


def _parse(value: Any) -> session_request.SessionRequest:
    return session_request.parse(
        from_json(to_json(value)) if isinstance(value, dict) else value, max_attribute_bytes=LIMIT
    )


def _parse_for_platform(value: Any) -> session_request.SessionRequest:
    return session_request.parse(value, max_attribute_bytes=LIMIT, platform=SessionSettings())


def _platform_faults(value: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidRequest) as invalid:
        _parse_for_platform(value)
    return invalid.value.faults


def _faults(value: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidRequest) as invalid:
        session_request.parse(value, max_attribute_bytes=LIMIT)
    return invalid.value.faults
