"""Cells of the audit's table, as a spreadsheet will read them."""

import pytest

from crm_sync.cli.audit import flatten, safe
from crm_sync.store.audit import Entry


@pytest.mark.parametrize("text", ["=1+1", "+41 44 123", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_could_be_a_formula_becomes_text(text: str) -> None:
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "a=b", "1-2", "plain", -0.2, 7])
def test_anything_else_stays_as_it_is(value: object) -> None:
    assert safe(value) == value


def test_what_is_unknown_is_empty_and_truth_is_a_word() -> None:
    assert [safe(value) for value in (None, True, False)] == ["", "true", "false"]


def test_one_that_is_owed_to_nobody_has_one_row() -> None:
    (row,) = flatten(Entry(conversation_id="c1"))

    assert row.pop("conversation_id") == "c1" and row.pop("events") == 0
    assert set(row.values()) == {None}
