"""The database: one engine per process, with the settings that make an acknowledged event durable."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError, TimeoutError
from sqlalchemy.pool import QueuePool

from crm_sync.errors import SetupError, Unavailable

try:
    import pysqlite3.dbapi2 as _pysqlite3
except ImportError:  # There is no wheel for every platform; the version rule below decides what is safe.
    _pysqlite3 = None

if TYPE_CHECKING:  # Only a web process needs gevent.
    from crm_sync.store.native import NativeThreads

Result = TypeVar("Result")

SQLITE_ERROR = 1
READ_ONLY = "25006"
"""PostgreSQL's code where it takes no writes: a replica, or a server that is being failed over."""
CANCELED = "57014"
"""PostgreSQL's code for a statement that was canceled, by its timeout as a rule."""

# Set for each writing transaction, not for the session, since a transaction pooler may hand us any session.
_POSTGRESQL_WRITE = text(
    "SELECT set_config('synchronous_commit', 'on', true), set_config('statement_timeout', '5s', true),"
    " set_config('lock_timeout', '2s', true), set_config('idle_in_transaction_session_timeout', '10s', true),"
    # It guesses too many rows for our documents, and compiling a statement costs more than all of ours take.
    " set_config('jit', 'off', true)"
)


class Database:
    """A pool of connections with short transactions; safe to share between threads and greenlets.

    `read` and `write` raise `Unavailable` when the database cannot be reached, is busy for too long, or cannot
    commit; anything else that a driver raises is a bug and passes through.
    """

    def __init__(self, url: str, *, busy_seconds: float = 30.0, pool_size: int = 10) -> None:
        self.url = make_url(url)
        self._busy_seconds = busy_seconds
        self.is_postgresql = self.url.get_backend_name() == "postgresql"
        self.engine = _postgresql(url, pool_size) if self.is_postgresql else _sqlite(url, busy_seconds, pool_size)
        # SQLite has one writer. Who finds it busy sleeps for up to 100 ms and may be overtaken, so the threads of a
        # process queue for it here, where they are woken at once.
        self._queue = None if self.is_postgresql else threading.Lock()
        self._native: NativeThreads | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and changes nothing."""
        with _translated(), self._engine_here().connect() as connection:
            if self.is_postgresql:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is committed, durably, when the block ends without an exception."""
        with _translated(writes=True), self._turn(), self._engine_here().connect() as connection:
            connection = connection.execution_options(crm_sync_writes=True)
            with connection.begin():
                if self.is_postgresql:
                    connection.execute(_POSTGRESQL_WRITE)
                yield connection

    def reading(self, work: Callable[[Connection], Result]) -> Result:
        """Return what this work returns in a transaction of `read`, run where it stalls nobody else."""

        def run() -> Result:
            with self.read() as connection:
                return work(connection)

        return self.run(run)

    def writing(self, work: Callable[[Connection], Result]) -> Result:
        """Return what this work returns in a transaction of `write`, run where it stalls nobody else."""

        def run() -> Result:
            with self.write() as connection:
                return work(connection)

        return self.run(run)

    def run(self, work: Callable[[], Result]) -> Result:
        """Run database work where it stalls nobody else: under gevent, SQLite's goes to the hub's thread pool."""
        return work() if self._native is None else self._native.run(work)

    def use_native_threads(self) -> None:
        """Send the work given to `run` to native threads, where SQLite under gevent belongs."""
        if self.is_postgresql:
            return
        from crm_sync.store.native import NativeThreads

        url, busy_seconds = self.url.render_as_string(hide_password=False), self._busy_seconds
        self._native = NativeThreads(lambda: _sqlite(url, busy_seconds, 1))
        # The queue of threads would be a lock between them. The group commit is the queue here.
        self._queue = None

    def close(self) -> None:
        """Close all idle connections now, and each that is in use when it is given back."""
        if self._native is not None:
            self._native.close()
        # It would go back to a pool that nobody has any more, and stay open.
        event.listen(self.engine.pool, "checkin", lambda _, record: record.invalidate())
        self.engine.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._queue is None:
            yield
            return
        if not self._queue.acquire(timeout=self._busy_seconds):
            raise Unavailable("The database is busy.")
        try:
            yield
        finally:
            self._queue.release()

    def _engine_here(self) -> Engine:
        own = None if self._native is None else self._native.engine()
        return own or self.engine


def sqlite_module() -> ModuleType:
    """Return the SQLite driver: the `pysqlite3` wheel where there is one, else Python's own."""
    return _pysqlite3 or sqlite3


def is_wal_safe(version: tuple[int, ...]) -> bool:
    """Tell whether two processes may write one WAL database with this SQLite version.

    3.7.0 to 3.51.2 can lose a commit when two connections checkpoint at once. Fixed in 3.51.3, with backports in
    3.44.6 and 3.50.7; 3.52.0 was withdrawn.
    """
    if version[:2] == (3, 44):
        return version >= (3, 44, 6)
    if version[:2] == (3, 50):
        return version >= (3, 50, 7)
    return version >= (3, 51, 3) and version[:3] != (3, 52, 0)


def check_durability(database: Database) -> list[str]:
    """Return warnings about settings that weaken durability; raises SetupError where an ack would be a lie."""
    if database.is_postgresql:
        with database.read() as connection:
            shown = {name: connection.scalar(text(f"SHOW {name}")) for name in ("fsync", "full_page_writes")}
        if shown["fsync"] == "off":
            raise SetupError("PostgreSQL runs with fsync=off and would lose acknowledged events: switch it on.")
        if shown["full_page_writes"] == "off":
            return ["PostgreSQL runs with full_page_writes=off: a power loss may tear pages. Switch it on."]
        return []
    with database.read() as connection:
        mode = connection.scalar(text("PRAGMA journal_mode"))
        level = connection.scalar(text("PRAGMA synchronous"))
    wanted = ("wal", 2) if is_wal_safe(sqlite_module().sqlite_version_info) else ("delete", 3)
    if (mode, level) != wanted:
        raise SetupError(
            f"SQLite runs with journal_mode={mode}, synchronous={level} where {wanted[0]}, {wanted[1]} is needed:"
            " keep the database on a local disk."
        )
    if wanted[0] == "delete":
        return [
            f"SQLite {sqlite_module().sqlite_version} may lose commits in WAL mode, so the slower rollback journal is"
            " used: install the pysqlite3 wheel, or SQLite 3.51.3 or later."
        ]
    return []


def require_cooperative_driver() -> None:
    """Refuse to run under gevent with a PostgreSQL driver that waits in C, which stalls all requests.

    psycopg chooses how it waits when it is imported, and waits in Python only after gevent's patching.
    """
    from psycopg import waiting

    if waiting.wait.__module__ != waiting.__name__:
        raise SetupError("psycopg was imported before gevent patched the process: start the service with crm-sync web.")


def _postgresql(url: str, pool_size: int) -> Engine:
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,  # They hold customers' words, and errors are logged.
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "options": "-c timezone=UTC -c statement_timeout=5s -c lock_timeout=2s",
            "application_name": f"crm-sync {os.getpid()}",
        },
    )


def _sqlite(url: str, busy_seconds: float, pool_size: int) -> Engine:
    path = make_url(url).database
    if not path or path == ":memory:":
        raise SetupError("DATABASE_URL names an SQLite database in memory: give it a file, sqlite:////path/to/file.db.")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"The folder of the SQLite file cannot be made ({error.strerror}): check DATABASE_URL."
        ) from error
    module = sqlite_module()
    safe = is_wal_safe(module.sqlite_version_info)
    engine = create_engine(
        url,
        module=module,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        hide_parameters=True,
        connect_args={"timeout": busy_seconds, "check_same_thread": False},
    )
    first = threading.Lock()

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # We say BEGIN ourselves, below.
        try:
            connection.execute("PRAGMA schema_version")
        except module.OperationalError:
            raise
        except module.DatabaseError as error:
            raise SetupError("DATABASE_URL names a file that is damaged, or no SQLite database.") from error
        with first:  # Two connections that switch a new file to WAL at once meet a lock that no timeout covers.
            connection.execute(f"PRAGMA journal_mode = {'WAL' if safe else 'DELETE'}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if safe else 'EXTRA'}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        # A read lock that must become a write lock can fail at once, whatever the timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("crm_sync_writes", False) else "BEGIN")

    return engine


def _lacks_schema(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlstate", None) in ("42P01", "42703"):  # undefined table, undefined column
        return True
    return str(error.orig).startswith(("no such table", "no such column")) or "has no column named" in str(error.orig)


@contextmanager
def _translated(*, writes: bool = False) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unavailable("The database has no free connection.") from error
    except (OperationalError, InterfaceError, ProgrammingError) as error:
        if _lacks_schema(error):
            raise Unavailable("The database lacks a table or a column: run crm-sync db upgrade.") from error
        if isinstance(error, ProgrammingError) or getattr(error.orig, "sqlite_errorcode", None) == SQLITE_ERROR:
            raise  # The statement itself is wrong, which SQLite calls operational too.
        if getattr(error.orig, "sqlstate", None) == CANCELED:
            raise Unavailable("The database took too long to answer.") from error
        # Before any statement there is no row that it could quote.
        detail = str(error.orig).splitlines()[0] if error.statement is None else None
        raise Unavailable("The database cannot be reached or cannot commit.", detail=detail) from error
    except DBAPIError as error:
        takes_no_writes = writes and getattr(error.orig, "sqlstate", None) == READ_ONLY
        if error.connection_invalidated or takes_no_writes:
            raise Unavailable("The connection to the database was lost, or it takes no writes.") from error
        raise
