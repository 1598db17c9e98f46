"""How to reach a customer's database: driver, deadlines, and the session settings that the upserts rely on."""

from importlib import import_module
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from crm_sync.errors import SettingsError

DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite",
}
_LOCK_SECONDS = 10
_MYSQL_SESSION = (
    f"SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = {_LOCK_SECONDS}, "
    "sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')"
)


def parse_url(text: str) -> sa.URL:
    """Return the URL with our driver in it; raises ValueError, as the end of a sentence, without quoting the URL."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("is not a database URL; write it as postgresql://user:password@host/database") from None
    if url.drivername in DRIVERS:
        url = url.set(drivername=DRIVERS[url.drivername])
    if url.drivername not in DRIVERS.values():
        raise ValueError(
            "is for a database that this adapter does not know; it knows sqlite, postgresql, mariadb, mysql"
        )
    if not url.database or url.database == ":memory:":
        raise ValueError("names no database")
    return url


def create(url: sa.URL, *, deadline_seconds: float) -> sa.Engine:
    """Return an engine that has not connected yet. No value of a record appears in its errors."""
    seconds = min(15, deadline_seconds)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, seconds)
    if url.get_backend_name() == "postgresql":
        return _postgresql(url, seconds)
    return _mysql(url, seconds)


def sqlite_module() -> ModuleType:
    """Return the newest SQLite at hand: the one of the standard library can be too old to write beside others."""
    try:
        return import_module("pysqlite3.dbapi2")
    except ImportError:
        return import_module("sqlite3.dbapi2")


def _postgresql(url: sa.URL, seconds: float) -> sa.Engine:
    # Without server-side prepared statements, which a pooler between us and the database may not carry.
    arguments = {"connect_timeout": 5, "tcp_user_timeout": int(seconds * 1000), "prepare_threshold": None}
    engine = _engine(url, arguments)

    @sa.event.listens_for(engine, "begin")
    def _limit(connection: sa.Connection) -> None:
        # For the transaction alone: a pooler hands the session on to others.
        connection.exec_driver_sql(
            f"SELECT set_config('statement_timeout', '{int(seconds * 1000)}', true), "
            f"set_config('lock_timeout', '{_LOCK_SECONDS * 1000}', true)"
        )

    return engine


def _mysql(url: sa.URL, seconds: float) -> sa.Engine:
    arguments = {
        "connect_timeout": 5,
        "read_timeout": seconds,
        "write_timeout": seconds,
        "charset": "utf8mb4",
        "init_command": _MYSQL_SESSION,
    }
    try:
        engine = _engine(url, arguments)
    except ModuleNotFoundError:
        raise SettingsError(["url needs the Python module 'pymysql'; install crm-sync[mysql]"]) from None

    @sa.event.listens_for(engine, "do_connect")
    def _count_changes(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> None:
        # SQLAlchemy asks for the number of rows found. With that, an insert and a row left as it is both count as one.
        found_rows = import_module("pymysql.constants.CLIENT").FOUND_ROWS
        parameters["client_flag"] = parameters.get("client_flag", 0) & ~found_rows

    return engine


def _sqlite(url: sa.URL, seconds: float) -> sa.Engine:
    engine = _engine(url, {"timeout": min(_LOCK_SECONDS, seconds)}, module=sqlite_module())

    @sa.event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that reads first and then writes can otherwise fail at once, whatever the timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _engine(url: sa.URL, arguments: dict[str, Any], **more: Any) -> sa.Engine:
    return sa.create_engine(
        url,
        connect_args=arguments,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_timeout=5,
        pool_recycle=1800,
        **more,
    )
