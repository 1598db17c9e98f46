"""The engines that are here to be measured, and new databases on each, dropped afterwards."""

import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from crm_sync.store import migrate
from crm_sync.store.engine import Database, sqlite_module
from tests import databases


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine. `new_database` yields the URL of a database whose schema is at head."""

    name: str
    version: str
    new_database: Callable[[], AbstractContextManager[str]]


@contextmanager
def opened() -> Iterator[list[Engine]]:
    """Yield the engines that are here, and say why one is not."""
    with ExitStack() as stack:
        found = [Engine(name="SQLite", version=sqlite_module().sqlite_version, new_database=_new_file)]
        try:
            server = stack.enter_context(databases.postgresql_server(secrets.token_hex(6)))
            version = _version(server)
            found.append(Engine(name="PostgreSQL", version=version, new_database=lambda: _new_database(server)))
        except databases.NotHere as missing:
            print(f"Left out: {missing}.", file=sys.stderr)
        yield found


def _version(server: str) -> str:
    with databases.postgresql_database(server) as url:
        database = Database(url)
        try:
            with database.read() as connection:
                return str(connection.scalar(text("SHOW server_version"))).split()[0]
        finally:
            database.close()


@contextmanager
def _new_file() -> Iterator[str]:
    # Where the default database would be: the folder for temporary files is memory on many machines, and a durable
    # commit costs nothing there.
    Path("var").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir="var") as folder:
        url = databases.sqlite_url(Path(folder).absolute())
        migrate.upgrade(url)
        yield url


@contextmanager
def _new_database(server: str) -> Iterator[str]:
    with databases.postgresql_database(server) as url:
        migrate.upgrade(url)
        yield url
