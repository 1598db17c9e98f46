"""The decoder: what comes out of it is safe for every column on either engine."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_sync.genesys.payload import DEEPEST, LARGEST_NUMBER, MOST_NODES, Unreadable, decode

unhurried = settings(deadline=None)


def refused(body: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(body)
    return str(caught.value)


@pytest.mark.parametrize(
    "value", [None, True, 0, -7, 1.5, "", "Zoë 👋🏽", [], {}, {"a": [1, {"b": None}]}, LARGEST_NUMBER, -LARGEST_NUMBER]
)
def test_an_ordinary_value_comes_out_as_it_went_in(value: Any) -> None:
    decoded = decode(json.dumps(value).encode())

    assert decoded.value == value
    assert not decoded.altered


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"01",
        b"{'a': 1}",
        b"{} {}",
        b"// comment\n{}",
        b'{"a":"tab\there"}',
        b'{"a":"\x00"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xf0\x9f\x91"}',
        rb'{"a":"\ud800"}',
        rb'{"a":"\udc00\ud800"}',
        rb'{"\ud83d":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 1500 + b"]" * 1500,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_json_of_ours_is_refused(body: bytes) -> None:
    assert refused(body).startswith("not JSON: ")


@pytest.mark.parametrize(
    "number",
    ["9007199254740992", "9007199254740993", "-9007199254740992", "9223372036854775808", "18446744073709551616",
     "1e16", "1e308", "1e999", "-1e999", "1" + "0" * 308, "1" + "0" * 309, "1" + "0" * 400, "9" * 4300],
    ids=lambda number: number[:24],
)  # fmt: skip
def test_a_number_that_not_every_reader_can_hold_is_refused_by_its_path(number: str) -> None:
    assert refused(f'{{"a":[0,{{"b":{number}}}]}}'.encode()) == "the number at $.a[1].b is out of range"


@pytest.mark.parametrize("zero", ["-0", "-0.0", "0.0", "-0e5"])
def test_a_zero_has_no_sign_since_postgresql_keeps_none(zero: str) -> None:
    value = decode(f"[{zero}]".encode()).value[0]

    assert math.copysign(1, value) == 1


def test_depth_is_allowed_up_to_the_limit() -> None:
    assert decode(b"[" * DEEPEST + b"1" + b"]" * DEEPEST).value
    for depth in (DEEPEST + 1, 150, 200):
        assert refused(b"[" * depth + b"1" + b"]" * depth) == f"nested deeper than {DEEPEST} levels"


def test_size_is_allowed_up_to_the_limit() -> None:
    assert len(decode(json.dumps([0] * (MOST_NODES - 1)).encode()).value) == MOST_NODES - 1
    assert refused(json.dumps([0] * MOST_NODES).encode()) == f"more than {MOST_NODES} values"


def test_a_million_keys_are_refused() -> None:
    body = b"{" + b",".join(b'"k%d":1' % number for number in range(10**6)) + b"}"

    assert refused(body) == f"more than {MOST_NODES} values"


def test_nul_is_replaced_in_keys_and_values_and_told() -> None:
    decoded = decode(rb'{"a\u0000b": ["x\u0000", {"c": "\u0000"}], "d": "e"}')

    assert decoded.value == {"a\ufffdb": ["x\ufffd", {"c": "\ufffd"}], "d": "e"}
    assert decoded.altered


def test_a_replacement_character_that_was_sent_is_no_alteration() -> None:
    assert not decode('{"a":"\ufffd"}'.encode()).altered


def test_a_refusal_carries_no_nul_either_for_it_is_stored() -> None:
    assert refused(rb'{"a\u0000b": 1e999}') == "the number at $.a\ufffdb is out of range"


def test_a_refusal_is_short_however_long_the_key() -> None:
    assert len(refused(b'{"' + b"k" * 50_000 + b'": 1e999}')) < 300


@pytest.mark.parametrize("name", ["id", "conversationId", "eventTime", "endTime", "wrapupCode", "resolutionStatus"])
@pytest.mark.parametrize("wrap", ["%s", '[{"a":"b","c":"d"},%s]', '{"detail-type":"t","detail":{"eventBody":%s}}'])
def test_an_identifying_key_that_stands_twice_is_refused_by_name(name: str, wrap: str) -> None:
    twins = f'{{"x":"y","{name}":"1","z":"z","{name}":"1"}}'

    assert refused((wrap % twins).encode()) == f"the key {name} stands twice in one object"


def test_a_twin_is_found_though_it_is_spelt_with_an_escape() -> None:
    assert refused(rb'{"id":"a","\u0069d":"b"}') == "the key id stands twice in one object"


def test_a_twin_is_found_though_its_own_object_is_a_twin_that_lost() -> None:
    assert "wrapupCode" in refused(b'{"a":{"wrapupCode":"1","wrapupCode":"2"},"a":{}}')


def test_one_key_in_several_objects_is_no_twin() -> None:
    assert decode(b'{"id":"a","to":[{"id":"b"},{"id":"c"}],"from":{"id":"d"}}').value["id"] == "a"


def test_another_key_may_stand_twice_and_the_last_holds() -> None:
    assert decode(b'{"note":"first","note":"last"}').value == {"note": "last"}


def test_what_a_losing_twin_holds_cannot_break_the_scan() -> None:
    for held in (b"9" * 4300, b"[" * 180 + b"]" * 180, b"1e999"):
        assert decode(b'{"a":' + held + b',"a":1,"b":"c"}').value == {"a": 1, "b": "c"}


_TEXT = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.just("\0")))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


def _leaves(value: Any) -> list[Any]:
    match value:
        case list():
            return [leaf for item in value for leaf in _leaves(item)]
        case dict():
            return [leaf for key, item in value.items() for leaf in (key, *_leaves(item))]
    return [value]


@unhurried
@given(_VALUES)
def test_whatever_comes_out_every_column_can_keep_and_it_comes_out_twice_the_same(value: Any) -> None:
    try:
        decoded = decode(json.dumps(value).encode())
    except Unreadable:
        assert any(isinstance(leaf, int | float) and abs(leaf) > LARGEST_NUMBER for leaf in _leaves(value))
        return
    for leaf in _leaves(decoded.value):
        assert not isinstance(leaf, str) or "\0" not in leaf
        assert not isinstance(leaf, int | float) or abs(leaf) <= LARGEST_NUMBER
    again = decode(json.dumps(decoded.value).encode())
    assert (again.value, again.altered) == (decoded.value, False)


@unhurried
@given(st.binary() | st.text(alphabet='{}[]",:0123456789eE.+-\\u nulltrefasid').map(str.encode))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    try:
        decode(body)
    except Unreadable as error:
        error.args[0].encode()
