"""How a worker learns at once that something was committed. A hint only: polling remains the truth."""

import time
from contextlib import suppress
from types import TracebackType

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from crm_sync import clock
from crm_sync.errors import Unavailable
from crm_sync.store.debts import CHANNEL
from crm_sync.store.engine import Database

SQLITE_POLL_SECONDS = 0.02


class Wakeup:
    """Waits for the next commit of debts. Belongs to one thread; holds a connection of its own while it is open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if database.is_postgresql:
            self._connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        self._seen = self._data_version()

    def wait(self, seconds: float) -> bool:
        """Return True as soon as there may be something new, False when the time has passed.

        Raises `Unavailable` when the connection is lost; open another then.
        """
        if self._database.is_postgresql:
            raw = self._connection.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
            try:
                return any(True for _ in raw.notifies(timeout=seconds, stop_after=1))
            except psycopg.Error as error:
                raise Unavailable("The connection that listens for commits was lost.") from error
        ends_at = clock.monotonic() + seconds
        while (version := self._data_version()) == self._seen:
            if clock.monotonic() >= ends_at:
                return False
            time.sleep(SQLITE_POLL_SECONDS)
        self._seen = version
        return True

    def _data_version(self) -> int:
        """Return SQLite's counter of the commits of other connections; it costs no read of the database's pages."""
        if self._database.is_postgresql:
            return 0
        return int(self._connection.scalar(text("PRAGMA data_version")) or 0)

    def close(self) -> None:
        """Give the connection up; it is not returned to the pool, where it would go on listening."""
        with suppress(SQLAlchemyError):
            self._connection.invalidate()
        self._connection.close()

    def __enter__(self) -> "Wakeup":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
