"""The release before and this one on one database: rows survive both ways, and old code goes on writing its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, insert, select

from crm_sync.store import migrate, targets
from crm_sync.store.engine import Database
from tests.integration.builders import ended, named, opened_store, paid, wrapped_up

FIRST = "2026_11_25_first"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD_ROWS: dict[str, dict[str, Any]] = {
    "targets": {"id": 7, "name": "crm", "adapter": "memory", "state": "live", "created_at": NOW},
    "closures": {
        "conversation_id": "old", "closed": True, "resolution": "unknown", "resolution_final": False,
        "agent_took_part": False, "text_altered": False, "digest": "d", "version": 5, "created_at": NOW,
        "updated_at": NOW, "attributes": {}, "facts": {},
        **{f"{name}_ids": [] for name in ("agent", "queue", "flow", "bot", "division")},
        **{f"external_{name}_ids": [] for name in ("contact", "organization")},
    },
    "deliveries": {
        "id": 3, "target_id": 7, "conversation_id": "old", "state": "pending", "desired_version": 5, "due_at": NOW,
        "attempts": 2, "lost_leases": 1, "push_again": True, "redelivery": 4, "created_at": NOW, "updated_at": NOW,
    },
    "delivery_attempts": {
        "id": 9, "delivery_id": 3, "version": 5, "push_key": "key", "outcome": "failed", "started_at": NOW,
        "finished_at": NOW,
    },
}  # fmt: skip
"""One row of each table that was written by the release before, as it wrote them."""


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Open a database for a moment."""
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def old_tables(database_url: str) -> dict[str, Table]:
    """The tables as the release before knows them, in a database that is at its revision."""
    migrate.upgrade(database_url, FIRST)
    metadata = MetaData()
    with opened(database_url) as database, database.read() as connection:
        metadata.reflect(connection)
    return {name: metadata.tables[name] for name in OLD_ROWS}


def write(connection: Connection, tables: dict[str, Table], *names: str, **changed: Any) -> None:
    """Write these rows as the release before does."""
    for name in names:
        row = OLD_ROWS[name] | {key: value for key, value in changed.items() if key in OLD_ROWS[name]}
        connection.execute(insert(tables[name]).values(**row))


def read(url: str, tables: dict[str, Table]) -> dict[str, list[Any]]:
    """Return all rows, as far as the release before knows them."""
    with opened(url) as database, database.read() as connection:
        return {name: [tuple(row) for row in connection.execute(select(table))] for name, table in tables.items()}


def test_rows_of_the_release_before_survive_the_way_up_and_down(
    database_url: str, old_tables: dict[str, Table]
) -> None:
    with opened(database_url) as database, database.write() as connection:
        write(connection, old_tables, *OLD_ROWS)
    first = read(database_url, old_tables)
    migrate.upgrade(database_url)
    above = read(database_url, old_tables)
    migrate.downgrade(database_url, FIRST)

    assert all(len(rows) == 1 for rows in first.values())
    assert above == first
    assert read(database_url, old_tables) == first


def test_what_the_release_before_owed_is_delivered_by_this_one(database_url: str, old_tables: dict[str, Table]) -> None:
    with opened(database_url) as database, database.write() as connection:
        write(connection, old_tables, *OLD_ROWS)
    migrate.upgrade(database_url)
    with opened_store(database_url) as store:
        before = store.row("targets")
        (claim,) = store.claim()
        store.settle(paid(claim))
        after = store.delivery("old")

    assert store.target_ids == {"crm": 7}
    assert (before.failures, before.trips, before.open_until, before.tat) == (0, 0, None, None)
    assert (claim.delivery_id, claim.push_again, claim.redelivery, claim.lost_leases) == (3, True, 4, 1)
    assert (after.state, after.in_background) == ("delivered", False)


def test_a_target_of_the_release_before_is_owed_by_default_until_it_is_named_again(
    database_url: str, old_tables: dict[str, Table]
) -> None:
    with opened(database_url) as database, database.write() as connection:
        write(connection, old_tables, "targets")
    migrate.upgrade(database_url)
    with opened_store(database_url, names=()) as store:
        with store.database.write() as connection:
            targets.retire_unnamed(connection)
        unnamed = store.row("targets")
        store.record(ended("a"), ended("b", mediaType="INTERNALMESSAGE"))
        with store.database.write() as connection:
            targets.sync(connection, named("crm", when={"media": ["internalmessage"]}))
        store.record(ended("c"), ended("d", mediaType="INTERNALMESSAGE"))
        owed = {row.conversation_id for row in store.rows("deliveries")}

    assert (unnamed.owed_when, unnamed.state) == (None, "live"), "nobody retires it for not having been named"
    assert owed == {"a", "d"}


def test_the_release_before_goes_on_writing_into_the_new_tables(
    database_url: str, old_tables: dict[str, Table]
) -> None:
    migrate.upgrade(database_url)
    with opened(database_url) as database, database.write() as connection:
        write(connection, old_tables, *OLD_ROWS)
    with opened_store(database_url, names=()) as store:
        store.target_ids = {"crm": 7}
        target, owed = store.row("targets"), store.row("deliveries")
        claims = store.claim()

    assert (target.owed_when, target.failures, target.trips, target.tat) == (None, 0, 0, None)
    assert (owed.in_background, owed.state) == (False, "pending")
    assert [claim.closure.conversation_id for claim in claims] == ["old"]


def test_what_this_release_put_into_the_background_is_not_lost_on_the_way_down(
    database_url: str, old_tables: dict[str, Table]
) -> None:
    migrate.upgrade(database_url)
    with opened_store(database_url) as store:
        store.record(ended("a"), wrapped_up("a"), ended("b"))
        store.change("deliveries", where={"conversation_id": "a"}, in_background=True)
        store.change("targets", failures=5, trips=2, open_until=NOW, tat=NOW)
    migrate.downgrade(database_url, FIRST)
    rows = read(database_url, old_tables)

    assert len(rows["targets"]) == 1
    assert {row[2] for row in rows["deliveries"]} == {"a", "b"}
    assert old_tables["deliveries"].columns.keys()[2] == "conversation_id"
