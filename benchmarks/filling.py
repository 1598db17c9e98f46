"""Many delivered rows, made by the database itself from one that is real, with pending ones spread among them."""

from collections.abc import Mapping
from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from benchmarks import owing
from crm_sync.store import bulk
from crm_sync.store.engine import Database
from crm_sync.store.tables import Base, ClosureRow, DeliveryRow

CACHE_KIB = 1_000_000
"""What SQLite may keep in memory while it fills the tables, or the pages of their indexes go to the disk and back."""

_CLOSURES, _DELIVERIES = ClosureRow.__tablename__, DeliveryRow.__tablename__


def fill(database_url: str, target: str, *, delivered: int, pending: int) -> None:
    """Fill a new database with deliveries to one target: at least so many of each kind, the pending ones spread."""
    # A connection of its own: what suits a flood of rows must not help what is measured afterwards.
    database = Database(database_url)
    try:
        owing.owe(database, target, 1)
        with database.engine.connect().execution_options(crm_sync_writes=True) as connection:
            if database.is_postgresql:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            else:
                connection.execute(text(f"PRAGMA cache_size = -{CACHE_KIB}"))
            _fill(connection, delivered + pending, every=(delivered + pending) // pending)
            connection.commit()
        _settle_down(database)
    finally:
        database.close()


def _fill(connection: Connection, count: int, *, every: int) -> None:
    conversation_id, is_pending = _id_sql(connection), f"(n % {every} = 0)"

    def when_delivered(value: str) -> str:
        return f"CASE WHEN {is_pending} THEN NULL ELSE {value} END"

    # No claim reads the facts, which are most of a closure's room.
    _copy(connection, _CLOSURES, count, {"conversation_id": conversation_id, "facts": "'{}'"})
    _copy(
        connection,
        _DELIVERIES,
        count,
        {
            "conversation_id": conversation_id,
            "state": f"CASE WHEN {is_pending} THEN 'pending' ELSE 'delivered' END",
            "due_at": bulk.later_sql(connection, f"(n - {count}) * 0.001"),
            "delivered_version": when_delivered("desired_version"),
            "delivered_at": when_delivered(bulk.now_sql(connection)),
            "payload_hash": when_delivered(f"'{'a' * 64}'"),
            "crm_record_id": when_delivered(conversation_id),
        },
    )


def _copy(connection: Connection, table: str, count: int, changed: Mapping[str, str]) -> None:
    """Copy the one row of a table so many times, with these columns made by SQL over the number `n` of the copy."""
    columns = [column.name for column in Base.metadata.tables[table].columns if column.name != "id"]
    values = ", ".join(changed.get(name, f"one.{name}") for name in columns)
    connection.execute(text(f"CREATE TEMPORARY TABLE one AS SELECT * FROM {table}"))
    connection.execute(
        text(f"""
            INSERT INTO {table} ({", ".join(columns)})
            WITH RECURSIVE copies(n) AS (
                SELECT CAST(1 AS bigint) UNION ALL SELECT n + 1 FROM copies WHERE n < {count}
            )
            SELECT {values} FROM copies CROSS JOIN one
        """)
    )
    connection.execute(text("DROP TABLE one"))


def _id_sql(connection: Connection) -> str:
    """Return SQL for a conversation id that no other `n` has, spread as the real ones are."""
    spread = "(n * 2654435761 % 4294967296)"
    digits = (
        f"lpad(to_hex({spread}), 8, '0')" if connection.dialect.name == "postgresql" else f"printf('%08x', {spread})"
    )
    return f"{digits} || '-0000-4000-8000-000000000000'"


def _settle_down(database: Database) -> None:
    """Let the planner know what there is, and let what the flood has left to do be done before anything is measured."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if database.is_postgresql:
            connection.execute(text("SET statement_timeout = 0"))
            for table in (_CLOSURES, _DELIVERIES):
                connection.execute(text(f"VACUUM (ANALYZE) {table}"))
            with suppress(ProgrammingError):  # Not every role may ask for a checkpoint.
                connection.execute(text("CHECKPOINT"))
        else:
            connection.execute(text("ANALYZE"))
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
