"""`crm-sync target`: what the database knows of targets, and what their CRMs say of the settings."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result

from crm_sync import clock
from crm_sync.store import targets
from crm_sync.store.engine import Database
from tests.integration.readers import add_closure, add_delivery, add_target

Command = Callable[..., Result]


@pytest.fixture
def filled_url(migrated_url: str) -> str:
    """A database in which `sales` waits for two records and has lost one, and `old` is retired."""
    database = Database(migrated_url)
    with database.write() as connection:
        sales = add_target(connection, "sales")
        add_target(connection, "old", "retired")
        for number, state in enumerate(["pending", "pending", "dead", "delivered"]):
            add_closure(connection, f"c{number}")
            due_at = clock.now() - timedelta(hours=number + 2)
            add_delivery(connection, sales, f"c{number}", state=state, due_at=due_at)
    database.close()
    return migrated_url


def state_of(url: str, name: str) -> tuple[str, str | None]:
    """Return a target's state and why it is paused."""
    database = Database(url)
    try:
        with database.read() as connection:
            return next((t.state, t.paused_reason) for t in targets.rows(connection) if t.name == name)
    finally:
        database.close()


def test_a_list_tells_what_each_target_is_owed(filled_url: str, crm_sync: Command) -> None:
    lines = crm_sync("target", "list").stdout.splitlines()
    sales = next(row for row in json.loads(crm_sync("target", "list", "--json").stdout) if row["name"] == "sales")

    assert lines[1].split("\t")[:5] == ["old", "memory", "retired", "0", "0"]
    assert lines[2].split("\t") == ["sales", "memory", "live", "2", "1", "1", "3 h", "-"]
    assert (sales["owed"], sales["dead"], sales["delivered"]) == (2, 1, 1)


def test_a_target_is_paused_with_a_reason_and_resumed(filled_url: str, crm_sync: Command) -> None:
    assert crm_sync("target", "pause", "sales", "--reason", "The CRM\x1b[2J moves.").exit_code == 0
    assert state_of(filled_url, "sales") == ("paused", "The CRM\x1b[2J moves.")
    assert "\x1b" not in crm_sync("target", "list").stdout

    assert crm_sync("target", "resume", "sales").exit_code == 0
    assert state_of(filled_url, "sales") == ("live", None)


@pytest.mark.parametrize("name", ["old", "nobody"])
@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_target_that_is_retired_or_unknown_is_refused(
    filled_url: str, crm_sync: Command, command: str, name: str
) -> None:
    refused = crm_sync("target", command, name)

    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


def test_a_check_asks_each_target_of_the_settings(crm_sync: Command, tmp_path: Path) -> None:
    Path("crm-sync.toml").write_text(
        f'[targets.good]\nadapter = "memory"\n[targets.bad]\nadapter = "jsonl"\npath = "{tmp_path}/nowhere/file"\n'
    )

    checked = crm_sync("target", "check")
    as_json = json.loads(crm_sync("target", "check", "--json").stdout)

    assert checked.exit_code == 1
    assert [line.split(":")[0] for line in checked.stdout.splitlines()] == ["bad", "good"]
    assert as_json["good"] == [] and as_json["bad"][0]["is_fatal"] is True
    assert crm_sync("target", "check", "good").exit_code == 0


def test_a_missing_table_is_created_only_when_that_is_asked_for(crm_sync: Command, tmp_path: Path) -> None:
    Path("crm-sync.toml").write_text(
        f'[targets.crm]\nadapter = "sql"\nurl = "sqlite:///{tmp_path}/crm.db"\ntable = "closures"\n'
    )

    assert crm_sync("target", "check").exit_code == 1
    assert crm_sync("target", "check").exit_code == 1
    assert crm_sync("target", "check", "--create").exit_code == 0
    assert crm_sync("target", "check").exit_code == 0


def test_a_check_of_a_target_that_is_not_in_the_settings_is_a_usage_error(crm_sync: Command) -> None:
    assert crm_sync("target", "check", "nobody").exit_code == 2
    assert crm_sync("target", "check").stdout == "The settings name no targets.\n"
