"""The field mapping: what reaches a target, what is left alone, and when two payloads are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.adapters import mapping
from crm_sync.adapters.contract import MappedField
from crm_sync.closure import FIELDS, JSON, Closure
from crm_sync.settings_targets import FieldRule

RECORD: dict[str, JSON] = {
    **Closure(
        conversation_id="c-1",
        wrapup_code="7",
        agent_ids=("a", "b"),
        duration_ms=0,
        attributes={"orderId": 4711, "note": ""},
    ).as_record(),
    "version": 12,
}


def rules(**given: object) -> dict[str, FieldRule]:
    return {name: FieldRule.model_validate(rule) for name, rule in given.items()}


def test_without_rules_every_field_has_its_own_name_and_what_is_empty_empties_the_crm_too() -> None:
    assert mapping.apply({}, RECORD) == RECORD
    assert mapping.apply({}, RECORD)["ended_at"] is None


def test_an_empty_source_leaves_the_field_alone_unless_it_is_to_be_cleared() -> None:
    given = rules(
        Ended="ended_at", Closed={"from": "ended_at", "clear": True}, Why={"from": "wrapup_code", "clear": True}
    )

    assert mapping.apply(given, RECORD) == {"Closed": None, "Why": "7"}


def test_false_and_zero_say_something() -> None:
    found = mapping.apply({}, RECORD)

    assert found["closed"] is False
    assert found["duration_ms"] == 0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("wrapup_code", "7"),
        ("attributes.orderId", 4711),
        ({"constant": "Genesys"}, "Genesys"),
        ({"from": "ended_at", "default": "never"}, "never"),
        ({"from": "wrapup_code", "map": {"7": "Sold"}}, "Sold"),
        ({"from": "wrapup_code", "map": {"8": "Lost"}}, "7"),
        ({"from": "wrapup_code", "map": {"8": "Lost"}, "default": "Other"}, "Other"),
        ({"from": "closed", "map": {"true": "Closed", "false": "Open"}}, "Open"),
        ({"from": "version", "map": {"12": "a dozen"}}, "a dozen"),
        ({"from": "agent_ids", "map": {"a": "Ann"}}, ["Ann", "b"]),
    ],
)
def test_a_rule_gives_its_value(rule: object, expected: JSON) -> None:
    assert mapping.apply(rules(Field=rule), RECORD) == {"Field": expected}


@pytest.mark.parametrize("source", ["ended_at", "attributes.note", "attributes.unknown", "queue_ids"])
def test_an_empty_source_leaves_the_field_alone(source: str) -> None:
    assert mapping.apply(rules(Field=source, Other="version"), RECORD) == {"Other": 12}


def test_a_mapping_is_described_with_its_sources_and_choices() -> None:
    described = mapping.describe(
        rules(
            Status={"from": "resolution", "map": {"resolved": "Done"}, "default": "Open"},
            Source={"constant": "Genesys"},
            Ended="ended_at",
        )
    )

    assert described == (
        MappedField(name="Ended", source="ended_at"),
        MappedField(name="Source", source=None, choices=("Genesys",)),
        MappedField(name="Status", source="resolution", choices=("Done", "Open")),
    )
    assert {field.name for field in mapping.describe({})} == {*FIELDS, "version"}


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_the_order_of_fields_does_not_change_the_hash(fields: dict[str, JSON]) -> None:
    turned = dict(reversed(fields.items()))

    assert mapping.payload_hash(turned) == mapping.payload_hash(fields)


@given(st.dictionaries(st.text(), st.integers(), min_size=1), st.data())
def test_a_changed_value_changes_the_hash(fields: dict[str, JSON], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(fields)))

    assert mapping.payload_hash({**fields, name: "changed"}) != mapping.payload_hash(fields)


def test_a_forced_push_has_a_name_of_its_own() -> None:
    assert mapping.push_key("c-1", 12, "abc") == "c-1.12.abc"
    assert mapping.push_key("c-1", 12, "abc", redelivery=2) == "c-1.12.abc.r2"
