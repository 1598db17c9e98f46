"""What the errors of SQLite, PostgreSQL, MariaDB and MySQL mean for what we owe a table."""

import re
from collections.abc import Container
from typing import Any

from sqlalchemy import exc

from crm_sync.errors import Fault, Kind

ERRORS = (exc.StatementError, exc.TimeoutError, UnicodeError, OverflowError)
"""What a statement can raise. The drivers' own complaints about a value do not all come as SQLAlchemy's."""

_MESSAGES = {
    Kind.AMBIGUOUS: "The connection to the database was lost before it confirmed.",
    Kind.AUTH: "The database refuses the user or the password.",
    Kind.CONFIG: "The database lacks the table, a column, the unique key or a right.",
    Kind.DATA: "The database refuses a value of this record.",
    Kind.RETRYABLE: "The database cannot do it now.",
}

# PostgreSQL: by the class of the SQLSTATE (two letters) where the full code is not listed.
_SQLSTATES = {
    "22": Kind.DATA,
    "23": Kind.DATA,
    "25": Kind.RETRYABLE,
    "28": Kind.AUTH,
    "3D": Kind.CONFIG,
    "3F": Kind.CONFIG,
    "42": Kind.CONFIG,
}
_MYSQL = {
    Kind.AUTH: (1044, 1045, 1698, 1820, 1862),
    Kind.CONFIG: (1049, 1054, 1142, 1143, 1146, 1370),
    Kind.DATA: (1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1452, 3819, 4025),
}
_MYSQL_KINDS = {code: kind for kind, codes in _MYSQL.items() for code in codes}

# For where a driver gives words only: a connection that libpq could not make, and SQLite.
_WORDS = (
    (re.compile(r"authentication failed|no pg_hba\.conf entry|role .* does not exist|password supplied"), Kind.AUTH),
    (re.compile(r"database .* does not exist|no such (table|column)|has no column named"), Kind.CONFIG),
    (re.compile(r"ON CONFLICT clause does not match|unable to open|readonly|not a database"), Kind.CONFIG),
    (re.compile(r"constraint failed|datatype mismatch|too big"), Kind.DATA),
)
# Bound to the ends of the message, because in between stand the values.
_COLUMN = re.compile(
    r"^Column '([^']+)' cannot be null$"
    r"|^Field '([^']+)' doesn't have a default value$"
    r"|for column (?:`[^`]+`\.)*['`]([^'`]+)['`] at row \d+$"
    r"|^NOT NULL constraint failed: [^.\s]+\.(\S+)$"
)


def fault_of(error: Exception, *, is_connected: bool, columns: Container[str]) -> Fault:
    """Return the fault, without a word of what the database said, for it quotes the values.

    `columns` are those that the fault may name: a text that looks like a name may be a customer's.
    """
    if not isinstance(error, exc.DBAPIError):
        return _fault_without_driver(error)
    cause: Any = error.orig
    kind, code = _kind_and_code(cause)
    if error.connection_invalidated:
        kind = Kind.AMBIGUOUS if is_connected else Kind.RETRYABLE
    column = _column(cause) if kind is Kind.DATA else None
    return Fault(kind=kind, code=code, message=_MESSAGES[kind], field=column if column in columns else None)


def _fault_without_driver(error: Exception) -> Fault:
    if isinstance(error, exc.TimeoutError):
        return Fault(kind=Kind.RETRYABLE, code="pool_is_empty", message="No connection to the database was free.")
    # The driver, or SQLAlchemy for it, could not even turn a value into a parameter.
    return Fault(kind=Kind.DATA, code=type(error).__name__, message=_MESSAGES[Kind.DATA])


def _kind_and_code(cause: Any) -> tuple[Kind, str]:
    # The number first: MariaDB has the same SQLSTATE for many different things.
    if cause.args and isinstance(cause.args[0], int):
        return _MYSQL_KINDS.get(cause.args[0], Kind.RETRYABLE), f"mysql_{cause.args[0]}"
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate:
        return _SQLSTATES.get(sqlstate[:2], Kind.RETRYABLE), f"sqlstate_{sqlstate}"
    text = str(cause)
    kind = next((kind for words, kind in _WORDS if words.search(text)), Kind.RETRYABLE)
    return kind, getattr(cause, "sqlite_errorname", type(cause).__name__)


def _column(cause: Any) -> str | None:
    if hasattr(cause, "diag"):
        named = cause.diag.column_name
        return None if named is None else str(named)
    found = _COLUMN.search(str(cause.args[-1])) if cause.args else None
    return next(filter(None, found.groups()), None) if found else None
