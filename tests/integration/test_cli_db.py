"""`crm-sync db` as an admin runs it: what it says, and its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import text

from crm_sync.store.engine import Database
from crm_sync.store.migrate import history

Command = Callable[..., Result]
HEAD = history()[-1].split()[0]


def change(url: str, statement: str) -> None:
    """Run a statement on the database."""
    database = Database(url)
    try:
        with database.write() as connection:
            connection.execute(text(statement))
    finally:
        database.close()


def test_an_empty_database_is_told_what_it_lacks_and_upgraded_once(database_url: str, crm_sync: Command) -> None:
    assert crm_sync("db", "current").output.splitlines()[0] == "base"
    lacking = crm_sync("db", "check")
    assert lacking.exit_code == 1 and "crm-sync db upgrade" in lacking.output

    assert HEAD in crm_sync("db", "upgrade", "--dry-run").output
    assert json.loads(crm_sync("db", "current", "--json").output)["current"] is None
    assert HEAD in crm_sync("db", "upgrade").output

    assert crm_sync("db", "upgrade").output == "Nothing to do.\n"
    assert json.loads(crm_sync("db", "current", "--json").output) == {"current": HEAD, "head": HEAD, "missing": []}
    assert crm_sync("db", "check").exit_code == 0


@pytest.mark.parametrize("revision", ["-1", "base"])
def test_a_downgrade_takes_migrations_back(migrated_url: str, crm_sync: Command, revision: str) -> None:
    assert crm_sync("db", "downgrade", revision).exit_code == 0

    assert HEAD in json.loads(crm_sync("db", "current", "--json").output)["missing"]


def test_a_revision_that_nobody_knows_is_refused_in_a_sentence(migrated_url: str, crm_sync: Command) -> None:
    for command in ("upgrade", "downgrade"):
        refused = crm_sync("db", command, "nonsense")

        assert refused.exit_code == 1
        assert refused.stderr == "Error: Can't locate revision identified by 'nonsense': see crm-sync db history.\n"


def test_a_newer_database_is_left_as_it_is(migrated_url: str, crm_sync: Command) -> None:
    change(migrated_url, "UPDATE alembic_version SET version_num = 'of_next_year'")

    upgraded = crm_sync("db", "upgrade")
    assert (upgraded.exit_code, upgraded.output.count("of_next_year")) == (0, 1)
    assert crm_sync("db", "check").exit_code == 0
    assert "Warning" in crm_sync("db", "check").output
    assert "of_next_year" in crm_sync("token", "list").stderr


def test_a_table_that_differs_is_named(migrated_url: str, crm_sync: Command) -> None:
    change(migrated_url, "DROP INDEX ix_closures_ended")
    change(migrated_url, "ALTER TABLE tokens ADD COLUMN colour TEXT")
    change(migrated_url, "DROP TABLE leases")

    told = json.loads(crm_sync("db", "check", "--json").output)

    assert sorted(told["faults"]) == [
        "missing index ix_closures_ended", "missing table leases", "unexpected column tokens.colour",
    ]  # fmt: skip
    assert crm_sync("db", "check").exit_code == 1


def test_a_command_that_needs_the_tables_says_how_to_get_them(database_url: str, crm_sync: Command) -> None:
    refused = crm_sync("token", "list")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: ") and refused.stderr.endswith("run crm-sync db upgrade.\n")


def test_a_database_that_is_away_is_told_in_a_sentence(crm_sync: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:drowssap@127.0.0.1:1/nothing")

    refused = crm_sync("db", "check")

    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: The database cannot be reached or cannot commit. It says: ")
    assert refused.stderr.count("\n") == 1


def test_the_path_of_an_alembic_ini_is_told(crm_sync: Command) -> None:
    assert Path(crm_sync("db", "config").stdout.strip()).is_file()
