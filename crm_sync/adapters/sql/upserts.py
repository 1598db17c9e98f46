"""One statement per record that writes it unless the table holds a newer version, in each database's own words."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from crm_sync.adapters.contract import Outcome


def upsert(
    connection: sa.Connection, table: sa.TableClause, row: Mapping[str, Any], *, key: str, version: str
) -> Outcome:
    """Write the row and return what became of it; `skipped` when the table holds a newer version."""
    match connection.dialect.name:
        case "postgresql":
            return _postgresql(connection, table, row, key, version)
        case "sqlite":
            return _sqlite(connection, table, row, key, version)
    return _mysql(connection, table, row, key, version)


def statement(dialect: str, table: sa.TableClause, row: Mapping[str, Any], *, key: str, version: str) -> sa.Insert:
    """Return the statement that `upsert` runs for this row."""
    if dialect == "postgresql":
        # Zero in xmax: this very statement made the row, and nothing has replaced or locked it before.
        return _on_conflict(postgresql.insert(table), table, row, key, version).returning(sa.literal_column("xmax = 0"))
    if dialect == "sqlite":
        return _on_conflict(sqlite.insert(table), table, row, key, version)
    return _on_duplicate(table, row, key, version)


def _on_conflict(
    insert: postgresql.Insert | sqlite.Insert, table: sa.TableClause, row: Mapping[str, Any], key: str, version: str
) -> postgresql.Insert | sqlite.Insert:
    held = table.c[version]
    return insert.values(dict(row)).on_conflict_do_update(
        index_elements=[key],
        set_={name: insert.excluded[name] for name in row if name != key},
        where=held.is_(None) | (held <= insert.excluded[version]),
    )


def _on_duplicate(table: sa.TableClause, row: Mapping[str, Any], key: str, version: str) -> mysql.Insert:
    insert = mysql.insert(table).values(dict(row))
    is_due = sa.func.coalesce(table.c[version], 0) <= insert.inserted[version]
    # The assignments run from left to right and each sees those before it. With the version last, every one of them
    # compares with the version that was held.
    names = [*(name for name in row if name not in (key, version)), version]
    return insert.on_duplicate_key_update(
        [(name, sa.case((is_due, insert.inserted[name]), else_=table.c[name])) for name in names]
    )


def _postgresql(
    connection: sa.Connection, table: sa.TableClause, row: Mapping[str, Any], key: str, version: str
) -> Outcome:
    is_new = connection.execute(statement("postgresql", table, row, key=key, version=version)).scalar()
    if is_new is None:
        return Outcome.SKIPPED
    return Outcome.CREATED if is_new else Outcome.UPDATED


def _sqlite(
    connection: sa.Connection, table: sa.TableClause, row: Mapping[str, Any], key: str, version: str
) -> Outcome:
    # Nobody else writes between the two statements: the transaction holds SQLite's only write lock.
    is_known = connection.execute(sa.select(sa.true()).where(table.c[key] == row[key])).first() is not None
    changed = connection.execute(statement("sqlite", table, row, key=key, version=version)).rowcount
    if not changed:
        return Outcome.SKIPPED
    return Outcome.UPDATED if is_known else Outcome.CREATED


def _mysql(connection: sa.Connection, table: sa.TableClause, row: Mapping[str, Any], key: str, version: str) -> Outcome:
    # It counts one for a new row, two for a changed one, none for a row that stays as it is.
    changed = connection.execute(statement("mysql", table, row, key=key, version=version)).rowcount
    if changed:
        return Outcome.CREATED if changed == 1 else Outcome.UPDATED
    held = connection.execute(sa.select(table.c[version]).where(table.c[key] == row[key]).with_for_update()).scalar()
    return Outcome.UNCHANGED if held == row[version] else Outcome.SKIPPED
