"""Many rows in one statement: a list of records as a table that SQL can join, on either engine.

The records travel as one JSON document, which PostgreSQL reads with `json_to_recordset` and SQLite with `json_each`:
one round trip and one plan, whatever the number of rows, where `executemany` makes one each. Arrays for `unnest` were
measured too: the driver took longer to write forty arrays than PostgreSQL to read the document.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.schema import Table
from sqlalchemy.types import JSON, BigInteger, Boolean, DateTime, Float, Integer, LargeBinary, TypeEngine

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


def later_sql(connection: Connection, seconds: float | str) -> str:
    """Return SQL for the instant so many seconds, a number or SQL for one, after now by the database's clock."""
    if connection.dialect.name == "postgresql":
        return f"({_POSTGRESQL_NOW} + make_interval(secs => {seconds}))"
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+f seconds', {seconds}))"


def greatest_sql(connection: Connection) -> str:
    """Return the name of the function that gives the greatest of its arguments."""
    return "greatest" if connection.dialect.name == "postgresql" else "max"


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
        return _from_records(types, records)
    return _from_document(types, records)


def _from_records(
    types: Mapping[str, TypeEngine[Any]], records: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    document = [{name: _postgresql_value(record[name]) for name in types} for record in records]
    columns = ", ".join(f"{name} {_postgresql_type(kind)}" for name, kind in types.items())
    return f"json_to_recordset(CAST(:r_document AS json)) AS r({columns})", {"r_document": _dump(document)}


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
        case Float():
            return "double precision"
        case LargeBinary():
            return "bytea"
        case _ if _is_instant(kind):
            return "timestamptz"
    # By bytes, as the columns are: rows must be locked in the same order wherever the order comes from.
    return 'text COLLATE "C"'


def _postgresql_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return value


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


_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Made once: `json.dumps` makes an encoder for each call that has options."""
