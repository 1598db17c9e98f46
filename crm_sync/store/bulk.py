"""Many rows in one statement: a list of records as a table that SQL can join, on either engine.

PostgreSQL gets one array per column and `unnest`; SQLite gets one JSON document and `json_each`. Both make one round
trip and one plan, whatever the number of rows, where `executemany` makes one each.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.schema import Table
from sqlalchemy.types import JSON, BigInteger, Boolean, DateTime, Integer, LargeBinary, TypeEngine

_POSTGRESQL_NOW = "clock_timestamp()"
_SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def now_sql(connection: Connection) -> str:
    """Return SQL for the present instant by the database's clock, as the instant columns hold it."""
    return _POSTGRESQL_NOW if connection.dialect.name == "postgresql" else _SQLITE_NOW


def now_ms_sql(connection: Connection) -> str:
    """Return SQL for the database's clock in whole milliseconds since 1970."""
    if connection.dialect.name == "postgresql":
        return f"CAST(extract(epoch FROM {_POSTGRESQL_NOW}) * 1000 AS bigint)"
    return "CAST(round((julianday('now') - 2440587.5) * 86400000) AS integer)"


def later_sql(connection: Connection, seconds: float) -> str:
    """Return SQL for the instant that lies this many seconds after now, by the database's clock."""
    if connection.dialect.name == "postgresql":
        return f"({_POSTGRESQL_NOW} + make_interval(secs => {float(seconds)}))"
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{float(seconds):+f} seconds')"


def sorted_by(names: Iterable[str], alias: str = "r") -> str:
    """Return the names as columns of the table that `rows` makes, for a select list."""
    return ", ".join(f"{alias}.{name}" for name in names)


def rows(
    connection: Connection, table: Table, columns: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    """Return SQL for these records as a table `r`, and its parameters. The types are those of the table's columns."""
    types = {name: table.c[name].type for name in columns}
    return typed_rows(connection, types, records)


def typed_rows(
    connection: Connection, types: Mapping[str, TypeEngine[Any]], records: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    """Do as `rows`, with the types given."""
    if connection.dialect.name == "postgresql":
        return _unnested(types, records)
    return _from_document(types, records)


def _unnested(types: Mapping[str, TypeEngine[Any]], records: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {}
    arrays = []
    for name, kind in types.items():
        values = [record[name] for record in records]
        if isinstance(kind, JSON):
            values = [None if value is None else _dump(value) for value in values]
        parameters[f"r_{name}"] = values
        arrays.append(f"CAST(:r_{name} AS {_postgresql_type(kind)}[])")
    return f"unnest({', '.join(arrays)}) AS r({', '.join(types)})", parameters


def _from_document(
    types: Mapping[str, TypeEngine[Any]], records: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    selected = []
    for place, (name, kind) in enumerate(types.items()):
        value = f"json_extract(value, '$[{place}]')"
        selected.append(f"CAST({value} AS BLOB) AS {name}" if isinstance(kind, LargeBinary) else f"{value} AS {name}")
    document = [[_sqlite_value(record[name], kind) for name, kind in types.items()] for record in records]
    return f"(SELECT {', '.join(selected)} FROM json_each(:r_document)) AS r", {"r_document": _dump(document)}


def _postgresql_type(kind: TypeEngine[Any]) -> str:
    match kind:
        case JSONB() | JSON():
            return "jsonb"
        case Boolean():
            return "boolean"
        case BigInteger() | Integer():
            return "bigint"
        case LargeBinary():
            return "bytea"
        case _ if _is_instant(kind):
            return "timestamptz"
    return "text"


def _sqlite_value(value: Any, kind: TypeEngine[Any]) -> Any:
    if value is None:
        return None
    if isinstance(kind, JSON):
        return _dump(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, bytes):
        return value.decode()
    return value


def _is_instant(kind: TypeEngine[Any]) -> bool:
    return isinstance(kind, DateTime) or isinstance(getattr(kind, "impl", None), DateTime)


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
