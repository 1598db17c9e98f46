"""The database with the settings that make an acknowledged event durable, and what becomes of it when it is away."""

import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from crm_sync.errors import SetupError, Unavailable
from crm_sync.store import engine
from crm_sync.store.engine import Database, check_durability
from tests import databases
from tests.conftest import skip_or_fail

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

WRITER = """
import sys
from crm_sync.store.engine import Database
with Database(sys.argv[1]).write():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with one table of numbers."""
    with opened(database_url) as found:
        with found.write() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
        yield found


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def opened(url: str, *, busy_seconds: float = 0.2, pool_size: int = 10) -> Iterator[Database]:
    """Open a database that soon finds others too busy, and close it."""
    found = Database(url, busy_seconds=busy_seconds, pool_size=pool_size)
    try:
        yield found
    finally:
        found.close()


def add(database: Database, number: int) -> None:
    """Commit a number."""
    with database.write() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})


def numbers(database: Database) -> list[int]:
    """Return what is committed."""
    with database.read() as connection:
        return list(connection.scalars(text("SELECT number FROM numbers ORDER BY number")))


def administer(url: str, statement: str, *, database: str = "postgres") -> None:
    """Run a statement as somebody else, on another database of the same server."""
    plain = make_url(url).set(drivername="postgresql", database=database).render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


def terminate_all(url: str) -> None:
    """End every session of this database."""
    name = make_url(url).database
    administer(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_a_block_that_fails_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))
        _ = 1 / 0

    assert numbers(database) == []


def test_a_read_sees_one_state_whatever_is_committed_meanwhile(database: Database) -> None:
    with database.read() as connection:
        before = connection.scalar(text("SELECT count(*) FROM numbers"))
        add(database, 1)
        after = connection.scalar(text("SELECT count(*) FROM numbers"))

    assert (before, after) == (0, 0)
    assert numbers(database) == [1]


def test_a_connection_that_was_read_with_can_write_afterwards(database_url: str, database: Database) -> None:
    with opened(database_url, pool_size=1) as single:
        assert numbers(single) == []
        add(single, 1)
        assert numbers(single) == [1]


def test_a_pool_that_is_empty_is_unavailable_and_recovers(database_url: str, database: Database) -> None:
    with opened(database_url, pool_size=1) as single:
        single.engine.pool._timeout = 0.05  # type: ignore[attr-defined]  # five seconds are too long for a test
        with single.read(), pytest.raises(Unavailable), single.read():
            pass

        assert numbers(single) == []


@on_postgresql
def test_a_statement_that_takes_too_long_is_unavailable_and_says_so(database: Database) -> None:
    with pytest.raises(Unavailable, match="too long"), database.read() as connection:
        connection.execute(text("SET LOCAL statement_timeout = '10ms'"))
        connection.execute(text("SELECT pg_sleep(30)"))

    assert numbers(database) == []


def test_the_settings_found_pass_the_check_of_durability(database: Database) -> None:
    assert check_durability(database) == []


@on_sqlite
def test_every_connection_keeps_a_synchronous_log_and_foreign_keys(database: Database) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(database.read()) for _ in range(4)]
        settings = [
            tuple(one.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys"))
            for one in connections
        ]

    assert settings == [("wal", 2, 1)] * 4


@on_sqlite
def test_an_unsafe_version_of_sqlite_gets_the_slower_journal_and_a_warning_with_the_remedy(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.is_wal_safe(sqlite3.sqlite_version_info):
        skip_or_fail(f"this Python's own SQLite {sqlite3.sqlite_version} is a safe one")
    monkeypatch.setattr(engine, "_pysqlite3", None)
    with opened(database_url) as database, database.read() as connection:
        mode = connection.scalar(text("PRAGMA journal_mode")), connection.scalar(text("PRAGMA synchronous"))
        (warning,) = check_durability(database)

    assert mode == ("delete", 3)
    assert "pysqlite3" in warning
    assert sqlite3.sqlite_version in warning


@on_sqlite
def test_a_journal_that_is_not_the_wanted_one_is_refused(database: Database) -> None:
    with opened(str(database.url)) as other, other.engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA synchronous = NORMAL")  # type: ignore[union-attr]
        connection.close()
        with pytest.raises(SetupError, match="synchronous=1"):
            check_durability(other)


def test_a_database_in_memory_is_refused() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(SetupError, match="give it a file"):
            Database(url)


@on_sqlite
def test_a_writer_takes_its_lock_at_once_and_readers_go_on(database_url: str, database: Database) -> None:
    add(database, 1)
    with opened(database_url) as other, database.write():
        with pytest.raises(Unavailable):
            add(other, 2)
        assert numbers(other) == [1]


@on_sqlite
def test_a_file_that_another_process_writes_is_unavailable_until_that_is_done(
    database_url: str, database: Database
) -> None:
    command = [sys.executable, "-c", WRITER, database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(Unavailable):
            add(database, 1)
        process.stdin.close()

    add(database, 2)
    assert numbers(database) == [2]


@on_sqlite
def test_a_file_that_cannot_be_opened_is_unavailable_and_recovers(tmp_path: Path, database_url: str) -> None:
    path = tmp_path / "folder" / "crm-sync.db"
    with opened(f"sqlite:///{path}") as database:
        path.mkdir()
        with pytest.raises(Unavailable), database.read():
            pass
        path.rmdir()

        assert check_durability(database) == []


@on_postgresql
def test_a_writing_transaction_is_durable_and_bounded_whatever_the_defaults(
    database_url: str, database: Database
) -> None:
    name = database.url.database or ""
    administer(database_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    wanted = {
        "synchronous_commit": "on", "statement_timeout": "5s", "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s", "timezone": "UTC",
    }  # fmt: skip
    with opened(database_url) as fresh, fresh.write() as connection:
        found = {setting: connection.scalar(text(f"SHOW {setting}")) for setting in wanted}

    assert found == wanted


@on_postgresql
def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match="read-only"), database.read() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))

    add(database, 2)
    assert numbers(database) == [2]


@on_postgresql
@pytest.mark.parametrize("use", [numbers, lambda database: add(database, 1)], ids=["read", "write"])
def test_a_closed_port_is_unavailable(database_url: str, free_port: int, use: Callable[[Database], object]) -> None:
    away = make_url(database_url).set(host="127.0.0.1", port=free_port, query={})
    with opened(away.render_as_string(hide_password=False)) as database, pytest.raises(Unavailable):
        use(database)


@on_postgresql
def test_a_database_that_is_away_is_unavailable_and_recovers_by_itself(database_url: str, database: Database) -> None:
    administer(database_url, f"ALTER DATABASE {database.url.database} ALLOW_CONNECTIONS false")
    terminate_all(database_url)
    with pytest.raises(Unavailable):
        numbers(database)
    with pytest.raises(Unavailable):
        add(database, 1)
    administer(database_url, f"ALTER DATABASE {database.url.database} ALLOW_CONNECTIONS true")

    add(database, 2)
    assert numbers(database) == [2]


@on_postgresql
def test_sessions_that_were_ended_while_idle_are_noticed_by_nobody(database_url: str, database: Database) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(database.read())
    terminate_all(database_url)

    add(database, 1)
    assert numbers(database) == [1]


@on_postgresql
@pytest.mark.parametrize("goes_on", [True, False], ids=["before a statement", "before the commit"])
def test_a_session_that_is_ended_within_a_transaction_is_unavailable_and_leaves_nothing(
    database_url: str, database: Database, goes_on: bool
) -> None:
    with pytest.raises(Unavailable), database.write() as connection:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))
        terminate_all(database_url)
        if goes_on:
            connection.execute(text("INSERT INTO numbers VALUES (2)"))

    assert numbers(database) == []
    add(database, 3)
    assert numbers(database) == [3]


@on_postgresql
def test_a_server_that_takes_no_writes_is_unavailable_and_recovers(database_url: str, database: Database) -> None:
    name = make_url(database_url).database
    administer(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    terminate_all(database_url)  # A session keeps the default that it began with.
    with pytest.raises(Unavailable):
        add(database, 1)
    administer(database_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    terminate_all(database_url)
    add(database, 2)

    assert numbers(database) == [2]


@on_postgresql
def test_a_lock_that_a_stranger_holds_is_unavailable(database_url: str, database: Database) -> None:
    with opened(database_url) as stranger, stranger.write() as connection:
        connection.execute(text("LOCK TABLE numbers"))
        with pytest.raises(Unavailable):
            add(database, 1)

    add(database, 2)
    assert numbers(database) == [2]


def test_a_server_that_could_lose_what_it_acknowledged_is_refused(
    monkeypatch: pytest.MonkeyPatch, testrun_uid: str
) -> None:
    # A server of our own: the one that other tests use must stay as it is.
    monkeypatch.delenv(databases.POSTGRES_URL, raising=False)
    try:
        with databases.postgresql_server(f"own{testrun_uid}") as server:
            url = make_url(server).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
            with opened(url) as database:
                switch(url, "full_page_writes", "off")
                (warning,) = check_durability(database)
                switch(url, "fsync", "off")
                with pytest.raises(SetupError, match="fsync=off"):
                    check_durability(database)
    except databases.NotHere as missing:
        skip_or_fail(str(missing))

    assert "full_page_writes=off" in warning


def switch(url: str, name: str, value: str) -> None:
    """Change a setting of a whole server, and wait until new sessions see it."""
    administer(url, f"ALTER SYSTEM SET {name} = {value}")
    administer(url, "SELECT pg_reload_conf()")
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        with psycopg.connect(plain) as connection:
            if connection.execute(f"SHOW {name}".encode()).fetchone() == (value,):
                return


@on_sqlite
def test_a_file_that_is_no_database_is_told_from_one_that_is_away(tmp_path: Path, database_url: str) -> None:
    Path(str(make_url(database_url).database)).write_text("not a database, whatever it is called " * 100)

    with opened(database_url) as found, pytest.raises(SetupError, match="no SQLite database"), found.read():
        pass


def test_a_missing_column_is_a_matter_of_migrations_not_of_the_event(database: Database) -> None:
    with pytest.raises(Unavailable, match="crm-sync db upgrade"), database.write() as connection:
        connection.execute(text("INSERT INTO numbers (letter) VALUES (1)"))


def test_a_connection_in_use_while_the_database_is_closed_is_closed_when_it_is_given_back(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        database.close()
        assert connection.scalar(text("SELECT 1")) == 1

    with pytest.raises((psycopg.OperationalError, engine.sqlite_module().ProgrammingError), match=r"closed"):
        raw.cursor()
