"""Migrations on both engines: up, down and up again, the same tables as in the code, one process at a time."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import inspect, text

from crm_sync.errors import SchemaError, Unavailable
from crm_sync.store import migrate
from crm_sync.store.engine import Database
from tests.migration.checkout import CHECKOUT, environment

postgresql_only = pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Open a database for a moment."""
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def shape(url: str) -> dict[str, object]:
    """Return all that can be seen of the tables."""
    with opened(url) as database, database.read() as connection:
        seen = inspect(connection)
        return {
            name: [
                (what, re.sub(r"at 0x\w+", "", str(look(name))))
                for what, look in {
                    "columns": seen.get_columns, "indexes": seen.get_indexes, "checks": seen.get_check_constraints,
                    "references": seen.get_foreign_keys, "uniques": seen.get_unique_constraints,
                }.items()
            ]
            for name in sorted(seen.get_table_names())
        }  # fmt: skip


def test_the_migrated_tables_are_those_of_the_code(migrated_url: str) -> None:
    with opened(migrated_url) as database:
        assert migrate.differences(database) == []
        assert migrate.state(database).missing == ()
        assert migrate.require_current(database) == []


def test_what_has_been_taken_back_can_be_applied_again(database_url: str) -> None:
    migrate.upgrade(database_url)
    first = shape(database_url)
    migrate.downgrade(database_url, "base")
    between = shape(database_url)
    migrate.upgrade(database_url)

    assert list(between) == ["alembic_version"]
    assert shape(database_url) == first
    with opened(database_url) as database:
        assert migrate.differences(database) == []


def test_every_migration_can_be_taken_back_by_itself(database_url: str) -> None:
    revisions = [line.split()[0] for line in migrate.history()]
    for revision in revisions:
        before = shape(database_url)
        migrate.upgrade(database_url, revision)
        migrate.downgrade(database_url, "-1")

        assert {"alembic_version": shape(database_url)["alembic_version"]} | before == shape(database_url), revision
        migrate.upgrade(database_url, revision)


def test_an_upgrade_keeps_what_is_stored(migrated_url: str) -> None:
    with opened(migrated_url) as database, database.write() as connection:
        connection.execute(text("INSERT INTO leases (name, holder, until) VALUES ('a', 'b', CURRENT_TIMESTAMP)"))

    migrate.upgrade(migrated_url)

    with opened(migrated_url) as database, database.read() as connection:
        assert connection.scalar(text("SELECT holder FROM leases")) == "b"


@pytest.mark.parametrize("table", ["closures", "tokens"])
def test_a_difference_is_told_in_words(migrated_url: str, table: str) -> None:
    with opened(migrated_url) as database:
        with database.write() as connection:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN colour TEXT"))

        assert migrate.differences(database) == [f"unexpected column {table}.colour"]


def test_a_missing_migration_refuses_and_names_the_command(database_url: str) -> None:
    with opened(database_url) as database, pytest.raises(SchemaError, match="crm-sync db upgrade"):
        migrate.require_current(database)


def test_a_newer_revision_is_only_a_warning(migrated_url: str) -> None:
    with opened(migrated_url) as database:
        with database.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'of_next_year'"))

        assert migrate.state(database).is_unknown
        assert ["of_next_year" in warning for warning in migrate.require_current(database)] == [True]


def test_an_unknown_revision_to_go_to_is_a_sentence(migrated_url: str) -> None:
    with pytest.raises(SchemaError, match="nonsense"):
        migrate.upgrade(migrated_url, "nonsense")


def test_processes_that_upgrade_at_once_leave_one_schema(database_url: str) -> None:
    command = [sys.executable, "-m", "crm_sync", "db", "upgrade"]
    processes = [
        subprocess.Popen(command, cwd=CHECKOUT, env=environment(database_url), stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [(process.communicate()[1], process.returncode) for process in processes]

    assert [code for _, code in told] == [0, 0, 0], told
    with opened(database_url) as database:
        assert migrate.differences(database) == []
        with database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_upgrade_waits_for_another_process_that_migrates(database_url: str) -> None:
    with opened(database_url) as database:
        second = threading.Thread(target=migrate.upgrade, args=(database_url,))
        with database.read() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrate.LOCK_KEY})
            second.start()
            while not connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                                             " AND database = (SELECT oid FROM pg_database"
                                             "                 WHERE datname = current_database())")):  # fmt: skip
                second.join(0.01)
                assert second.is_alive()
            assert connection.scalar(text("SELECT to_regclass('closures')")) is None
        second.join()

        assert migrate.state(database).missing == ()


@postgresql_only
def test_a_migration_that_cannot_lock_a_table_gives_up_and_changes_nothing(migrated_url: str) -> None:
    before = shape(migrated_url)
    with opened(migrated_url) as database, database.read() as reader:
        reader.execute(text("SELECT count(*) FROM closures"))

        with pytest.raises(Unavailable, match="holds a lock"):
            migrate.downgrade(migrated_url, "base")

    assert shape(migrated_url) == before


def test_a_migration_that_fails_half_way_leaves_nothing_behind(database_url: str) -> None:
    with opened(database_url) as database:
        with database.write() as connection:
            # The last table that the first migration makes is there already.
            connection.execute(text("CREATE TABLE delivery_attempts (id INTEGER)"))

        with pytest.raises(Exception, match="delivery_attempts"):
            migrate.upgrade(database_url)

        with database.read() as connection:
            assert "closures" not in inspect(connection).get_table_names()
        with database.write() as connection:
            connection.execute(text("DROP TABLE delivery_attempts"))
    migrate.upgrade(database_url)

    with opened(database_url) as database:
        assert migrate.differences(database) == []
