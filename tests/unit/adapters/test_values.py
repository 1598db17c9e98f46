"""What adapters do alike with values: texts that every system takes, and options whose faults quote nothing."""

import json
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, PositiveInt, SecretStr

from crm_sync.adapters import values
from crm_sync.closure import JSON
from crm_sync.errors import SettingsError

ANY_TEXT = st.text(st.characters(codec=None))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=10,
)


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("must be even")
    return number


class Options(values.Options):
    token: SecretStr
    size: Annotated[PositiveInt, AfterValidator(_even)] = 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as it was \N{PILE OF POO}", "as it was \N{PILE OF POO}"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("\ufeffbom", "\ufeffbom"),
    ],
)
def test_only_what_no_system_keeps_is_replaced(text: str, expected: str) -> None:
    assert values.clean(text) == expected


@given(ANY_JSON)
def test_a_clean_value_can_be_sent_and_is_clean_already(value: JSON) -> None:
    cleaned = values.clean(value)

    assert "\\u0000" not in json.dumps(cleaned).replace("\\\\", "")
    assert json.loads(values.to_json({"value": cleaned}).encode()) == {"value": cleaned}
    assert values.clean(cleaned) == cleaned


def test_every_fault_of_the_options_is_named_at_once_without_its_value() -> None:
    with pytest.raises(SettingsError) as caught:
        values.parse(Options, {"size": 3, "tokn": "hunter2-hunter2"})

    assert sorted(caught.value.faults) == [
        "size must be even",
        "token is missing",
        "tokn is no setting of this adapter; it knows size, token",
    ]


def test_an_option_of_the_wrong_type_is_told_in_words() -> None:
    with pytest.raises(SettingsError) as caught:
        values.parse(Options, {"token": "hunter2-hunter2", "size": "hunter2-hunter2"})

    [fault] = caught.value.faults
    assert fault.startswith("size is not usable: input should be")
    assert "hunter2" not in fault
