"""Alembic's entry: run the migrations on the database that the settings name, one process at a time."""

from alembic import context
from sqlalchemy import Connection, text

from crm_sync.store.engine import Database
from crm_sync.store.migrate import LOCK_KEY, comparison, configured_url
from crm_sync.store.tables import Base

OTHERS_TIMEOUT = "60s"
LOCK_TIMEOUT = "5s"


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        **comparison(connection),
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            # Waiting for another process that migrates keeps nobody else waiting.
            connection.execute(text(f"SET LOCAL lock_timeout = '{OTHERS_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            # But a migration that cannot get its lock on a table in seconds gives up, rather than queue all readers
            # behind it.
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


def run() -> None:
    """Migrate over the connection that we were handed, else over one of our own."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _migrate(connection)
        return
    database = Database(configured_url())
    try:
        with database.engine.connect().execution_options(crm_sync_writes=True) as own:
            _migrate(own)
            own.commit()
    finally:
        database.close()


run()
