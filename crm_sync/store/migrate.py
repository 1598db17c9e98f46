"""Bring a database to the revision that this code needs, and tell whether it is there."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

import crm_sync
from crm_sync.errors import SchemaError, Unavailable
from crm_sync.settings import Settings
from crm_sync.store.engine import SQLITE_ERROR, Database
from crm_sync.store.tables import Base

LOCK_KEY = 0x63726D73  # "crms": the advisory lock that lets one process migrate at a time

# It tells of each look at a database, which `/readyz` takes every few seconds. What was migrated, our callers tell.
logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """Where a database stands: its revision, the newest that this code knows, and those still to be applied."""

    current: str | None
    head: str
    missing: tuple[str, ...]

    @property
    def is_unknown(self) -> bool:
        """Whether the database is at a revision that this code does not know: a newer version has migrated it."""
        return self.current is not None and not self.missing and self.current != self.head


def scripts_folder() -> Path:
    """Return the folder of the migrations: inside an installed package, else the top-level one of a checkout."""
    package = Path(crm_sync.__file__).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def config_file() -> Path:
    """Return the path of an alembic.ini that works from any folder."""
    return scripts_folder() / "alembic.ini"


def configured_url() -> str:
    """Return the database URL of the settings, for Alembic's own command."""
    return Settings.load(os.environ, cwd=Path.cwd()).database_url


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations up to this revision; one process at a time, and harmless when there is nothing to do."""
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take the migrations back down to this revision; `-1` is one step."""
    _run(url, lambda config: command.downgrade(config, revision))


def state(database: Database) -> SchemaState:
    """Tell where the database stands."""
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head() or ""
    with database.read() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if current is None:
        missing = tuple(reversed(known))
    elif current in known:
        missing = tuple(reversed(known[: known.index(current)]))
    else:
        missing = ()
    return SchemaState(current=current, head=head, missing=missing)


def require_current(database: Database) -> list[str]:
    """Raise SchemaError when a migration is missing; a newer, unknown revision is only a warning, returned."""
    found = state(database)
    if found.missing:
        raise SchemaError(
            f"The database lacks {len(found.missing)} migration(s), from {found.missing[0]}: run crm-sync db upgrade."
        )
    if found.is_unknown:
        return [f"The database is at revision {found.current}, which this version does not know; it goes on."]
    return []


def differences(database: Database) -> list[str]:
    """Return what the tables in the code have that the database has not, and the reverse, in words."""
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=comparison(connection))
        return list(_in_words(compare_metadata(context, Base.metadata)))


def comparison(connection: Connection) -> dict[str, Any]:
    """Return the options with which Alembic compares this database with the tables in the code."""
    # SQLite numbers rows without a default that could be seen, so an identity would look missing there.
    return {"compare_type": True, "compare_server_default": connection.dialect.name == "postgresql"}


def history() -> list[str]:
    """Return one line for each migration, the oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    return [f"{script.revision}  {script.doc}" for script in reversed(list(scripts.walk_revisions()))]


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _run(url: str, action: Callable[[Config], None]) -> None:
    database = Database(url)
    try:
        with database.engine.connect().execution_options(crm_sync_writes=True) as connection:
            action(_config(connection))
            connection.commit()
    except CommandError as error:
        raise SchemaError(f"{error}: see crm-sync db history.") from error
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == SQLITE_ERROR:
            raise  # The statement itself is wrong, which SQLite calls operational too.
        raise Unavailable(
            "The database cannot be migrated now: it is away, or another session holds a lock. Try again."
        ) from error
    finally:
        database.close()


def _in_words(found: Iterable[Any]) -> Iterator[str]:
    """Say what Alembic found: a tuple of what to do and with what; changes of one column come in a list."""
    for difference in found:
        match difference:
            case list():
                yield from _in_words(difference)
            case (str() as what, _, str() as table, str() as column, *_, old, new):
                yield f"{_kind(what)} of {table}.{column}: the database has {old!r}, the code {new!r}"
            case (str() as what, _, str() as table, column):
                yield f"{_kind(what)} {table}.{column.name}"
            case (str() as what, thing):
                yield f"{_kind(what)} {thing.name}"
            case _:
                yield str(difference)


def _kind(what: str) -> str:
    """Turn what Alembic would do, as in `add_table`, into what is the matter."""
    verb, _, thing = what.partition("_")
    word = {"add": "missing", "remove": "unexpected", "modify": "another"}.get(verb, verb)
    return f"{word} {thing}"
