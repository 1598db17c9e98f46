"""The frame of the command line: lazy groups, errors as sentences, exit codes."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from crm_sync import cli
from crm_sync.errors import CrmSyncError, SettingsError, Unavailable


def run(error: BaseException, *, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run a command that fails so, and return exit code, stdout and stderr."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(import_module("crm_sync.cli.db"), "db", click.Command("db", callback=fail))
    result = CliRunner().invoke(cli.main, ["db"])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("error", [CrmSyncError("It is wrong."), Unavailable("It is wrong.")])
def test_an_error_is_one_sentence_and_exit_code_1(error: CrmSyncError, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(error, monkeypatch=monkeypatch) == (1, "", "Error: It is wrong.\n")


def test_each_wrong_setting_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, told = run(SettingsError(["A is wrong.", "B is wrong."]), monkeypatch=monkeypatch)

    assert (code, told) == (1, "Error: A is wrong.\nError: B is wrong.\n")


def test_a_bug_is_not_hidden_behind_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(ZeroDivisionError(), monkeypatch=monkeypatch)

    assert result == (
        1,
        "",
        "",
    )  # The runner holds the exception, which the interpreter would print with its traceback.


@pytest.mark.parametrize("arguments", [["nonsense"], ["db", "nonsense"], ["db", "upgrade", "--nonsense"]])
def test_a_usage_error_has_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.main, arguments).exit_code == 2


@pytest.mark.parametrize("name", list(cli._MODULES))
def test_every_command_of_the_list_is_there_and_says_what_it_is_for(name: str) -> None:
    result = CliRunner().invoke(cli.main, [name, "--help"])

    assert result.exit_code == 0, result.output
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None and command.get_short_help_str()


def test_the_help_lists_all_commands() -> None:
    listed = CliRunner().invoke(cli.main, ["--help"]).output

    assert all(f"\n  {name} " in listed for name in cli._MODULES)


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(cli.main, ["--version"])

    assert result.exit_code == 0
    assert result.output.startswith("crm-sync")


@pytest.mark.parametrize("module", ["db", "token", "target", "processes"])
def test_a_command_that_serves_nobody_loads_no_web_framework(module: str) -> None:
    code = f"import sys, crm_sync.cli.{module}; sys.exit('flask' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=checkout(), check=False).returncode == 0


def test_a_reader_who_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m crm_sync db history | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], cwd=checkout(), capture_output=True, text=True, check=False)

    assert result.stderr == ""
    assert result.returncode in (0, 1)


def checkout() -> Path:
    """Return the folder from which `python -m crm_sync` runs uninstalled."""
    return Path(cli.__file__).parents[2]


def test_an_argument_that_is_not_utf8_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "crm_sync", "target", "pause", b"cr\xff"]
    done = subprocess.run(command, capture_output=True, check=False)

    assert done.returncode == 2
    assert b"An argument is not UTF-8" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["-4", "0", "65536", "x"])
def test_a_port_that_is_none_is_a_usage_error_that_names_the_option(port: str) -> None:
    result = CliRunner().invoke(cli.main, ["web", "--port", port])

    assert result.exit_code == 2
    assert "--port" in result.stderr


@pytest.mark.parametrize("command", [["redeliver"], ["replay"], ["target", "backfill", "crm"]])
def test_a_window_that_ends_before_it_begins_is_a_usage_error(command: list[str]) -> None:
    result = CliRunner().invoke(cli.main, [*command, "--since", "2026-01-02", "--until", "2026-01-01"])

    assert result.exit_code == 2
    assert "turn them round" in result.stderr
