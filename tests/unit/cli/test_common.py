"""How commands print: tables as lines for programs, instants in RFC 3339, no control characters."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from crm_sync import clock
from crm_sync.cli.common import age, echo_json, echo_table

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


def test_without_a_terminal_a_table_is_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(["NAME", "WHEN", "WHY"], [("a", NOON, None), ("b", 7, "[bold]x")], empty="Nothing.")

    assert capsys.readouterr().out == "NAME\tWHEN\tWHY\na\t2024-01-15T12:00:00.000Z\t-\nb\t7\t[bold]x\n"


def test_on_a_terminal_a_table_is_aligned_and_its_cells_are_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    echo_table(["NAME", "WHY"], [("longer name", "[bold]x"), ("b", "y")], empty="Nothing.")

    lines = capsys.readouterr().out.splitlines()
    assert "[bold]x" in lines[1]
    assert lines[1].index("[bold]x") == lines[2].index("y")


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(["NAME"], [], empty="Nothing.")

    assert capsys.readouterr().out == "Nothing.\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_another_system_said_cannot_drive_the_terminal_or_break_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    echo_table(["WHY"], [["\x1b[2J\n\t\u202eevil"]], empty="Nothing.")

    written = capsys.readouterr().out
    assert "evil" in written and written.count("\n") == 2
    assert not any(hostile in written for hostile in ("\x1b[2J", "\t", "\u202e"))


def test_json_has_instants_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"at": NOON, "ü": [1, None]})

    assert json.loads(capsys.readouterr().out) == {"at": "2024-01-15T12:00:00.000Z", "ü": [1, None]}


def test_what_is_not_json_is_a_bug() -> None:
    with pytest.raises(TypeError):
        echo_json(object())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (3_600, "1 h"), (86_400, "1 d"), (-5, None)],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, words: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)

    assert age(NOON - timedelta(seconds=seconds)) == words
    assert age(None) is None
