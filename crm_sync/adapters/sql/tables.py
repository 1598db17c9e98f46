"""The table that the `sql` adapter writes to: created from the mapping, or read from the database as it is there."""

import uuid
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from types import NoneType
from typing import Any, get_args

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.interfaces import ReflectedIndex

from crm_sync.adapters.contract import Finding, MappedField
from crm_sync.adapters.values import to_json
from crm_sync.closure import JSON, Closure
from crm_sync.errors import Fault, Kind, failure

NO_TABLE = "no_such_table"

_MYSQL = ("mysql", "mariadb")
_KEY = sa.String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), *_MYSQL)
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
_INSTANT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=3), *_MYSQL)
_TYPES: Mapping[type, sa.types.TypeEngine[Any]] = {
    bool: sa.Boolean(),
    int: sa.BigInteger(),
    float: sa.Double(),
    datetime: _INSTANT,
}


def planned(name: str, *, schema: str | None, key: str, version: str, fields: Sequence[MappedField]) -> sa.Table:
    """Return the table as we would create it: a column for each mapped field, of the type of its closure field."""
    columns: list[sa.Column[Any]] = [
        sa.Column(key, _KEY, primary_key=True),
        sa.Column(version, sa.BigInteger(), nullable=False),
        *(sa.Column(field.name, _type_of(field)) for field in fields if field.name not in (key, version)),
    ]
    return sa.Table(name, sa.MetaData(), *columns, schema=schema, mysql_charset="utf8mb4")


def reflected(connection: sa.Connection, name: str, *, schema: str | None, key: str, version: str) -> sa.Table:
    """Return the table as it is; raises a CONFIG failure when it is missing or cannot be upserted by the key."""
    try:
        table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection)
    except sa.exc.NoSuchTableError:
        raise failure(_missing(NO_TABLE, "The table does not exist.")) from None
    for column in (key, version):
        if column not in table.c:
            raise failure(_missing("no_such_column", "The table lacks a column that the adapter needs.", column))
    if not _is_unique(connection, table, key):
        # Without it MariaDB would not complain, and would add a row with every push.
        raise failure(_missing("no_unique_key", "The key column has no unique index of its own.", key))
    return table


def converted(table: sa.Table, record: Mapping[str, JSON]) -> dict[str, Any]:
    """Return the record as parameters for this table's columns.

    Raises a DATA failure for a value that does not fit, and a CONFIG failure for a column that is not there.
    """
    for name in record:
        if name not in table.c:
            raise failure(_missing("no_such_column", "The table lacks a column that the mapping writes.", name))
    return {name: _converted(value, table.c[name]) for name, value in record.items()}


def findings(connection: sa.Connection, table: sa.Table, *, key: str, written: Set[str]) -> list[Finding]:
    """Return what in this table will not work when these columns are written."""
    found = [
        Finding(what="column is missing", where=name, remedy="add the column, or map another", is_fatal=True)
        for name in sorted(written - set(table.c.keys()))
    ]
    for column in table.c:
        needs_value = not column.nullable and column.server_default is None and not column.primary_key
        if needs_value and column.name not in written:
            remedy = "map a field to it, or give it a default"
            what = "column must have a value, and none is mapped"
            found.append(Finding(what=what, where=column.name, remedy=remedy, is_fatal=True))
    if connection.dialect.name in _MYSQL:
        found += [_unique_beside(name) for name in _unique_names(connection, table) if name != (key,)]
    return found


def _missing(code: str, message: str, column: str | None = None) -> Fault:
    return Fault(kind=Kind.CONFIG, code=code, message=message, field=column)


def _unique_beside(columns: tuple[str | None, ...]) -> Finding:
    return Finding(
        what="a second unique index: a push that meets one of its values updates that row, whatever its key",
        where=", ".join(name or "an expression" for name in columns),
        remedy="make it an ordinary index, unless its values are as unique as conversations",
        is_fatal=False,
    )


def _type_of(field: MappedField) -> sa.types.TypeEngine[Any]:
    if field.choices:
        kinds = {type(choice) for choice in field.choices}
    elif field.source == "version":
        kinds = {int}
    else:
        annotation = Closure.__annotations__.get(field.source or "", str)
        kinds = {annotation, *get_args(annotation)} & {*_TYPES, str, NoneType} - {NoneType} or {str}
    return _TYPES.get(kinds.pop(), _TEXT) if len(kinds) == 1 else _TEXT


def _is_unique(connection: sa.Connection, table: sa.Table, column: str) -> bool:
    return (column,) in _unique_names(connection, table)


def _unique_names(connection: sa.Connection, table: sa.Table) -> set[tuple[str | None, ...]]:
    inspector = sa.inspect(connection)
    # SQLite shows a UNIQUE behind a column only as an index of its own making.
    more = {"include_auto_indexes": True} if connection.dialect.name == "sqlite" else {}
    primary = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    constraints = inspector.get_unique_constraints(table.name, schema=table.schema)
    indexes = [index for index in inspector.get_indexes(table.name, schema=table.schema, **more) if _is_whole(index)]
    return {
        tuple(primary),
        *(tuple(constraint["column_names"]) for constraint in constraints),
        *(tuple(index["column_names"]) for index in indexes if index["unique"]),
    } - {()}


def _is_whole(index: ReflectedIndex) -> bool:
    """Whether an index is for every row: one with a condition does not keep the others apart."""
    return not any(option.endswith("_where") for option in index.get("dialect_options", {}))


def _converted(value: JSON, column: sa.Column[Any]) -> Any:
    kind = column.type
    if value is None:
        return None
    try:
        match kind:
            case sa.JSON() | sa.ARRAY():
                return value
            case sa.DateTime() | sa.Date():
                return _instant(value, kind)
            case sa.Uuid():
                return uuid.UUID(str(value)) if kind.as_uuid else str(value)
            case sa.String():
                return _fitting(_as_text(value), kind.length)
            case sa.Boolean():
                return _flag(value)
            case sa.Integer() if isinstance(value, bool | int | str):
                return _whole(value)
    except ValueError:
        message = "A value does not fit its column."
        raise failure(Fault(kind=Kind.DATA, code="bad_value", message=message, field=column.name)) from None
    return _as_text(value) if isinstance(value, list | dict) else value


def _instant(value: JSON, kind: sa.DateTime | sa.Date) -> Any:
    """Return an instant in UTC; a column without a zone holds UTC as well, and our text always says its zone."""
    at = datetime.fromisoformat(str(value))
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if isinstance(kind, sa.Date):
        return at.date()
    return at if kind.timezone else at.replace(tzinfo=None)


def _flag(value: JSON) -> bool:
    """Return what both JSON's booleans and their names in a value map stand for."""
    if value not in (True, False, "true", "false"):
        raise ValueError("neither true nor false")
    return value in (True, "true")


def _whole(value: bool | int | str) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("too large for any column")
    return number


def _as_text(value: JSON) -> str:
    if isinstance(value, str):
        return value
    return to_json({"": value})[len('{"":') : -1]


def _fitting(text: str, length: int | None) -> str:
    # SQLite ignores the length, and a lax MariaDB cuts the text off; the databases that refuse do not name the column.
    if length is not None and len(text) > length:
        raise ValueError("too long")
    return text
