"""Work that one process at a time may do, on any host: a row with a holder, and an end by the database's clock."""

from sqlalchemy import Connection, text

from crm_sync.store import bulk


def acquire(connection: Connection, name: str, *, holder: str, seconds: float) -> bool:
    """Return whether the holder has the lease from now on: nobody else's was in force."""
    taken = connection.execute(
        text(
            "INSERT INTO leases (name, holder, until)"
            f" VALUES (:name, :holder, {bulk.later_sql(connection, seconds)})"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
            f" WHERE leases.holder = excluded.holder OR leases.until <= {bulk.now_sql(connection)}"
            " RETURNING name"
        ),
        {"name": name, "holder": holder},
    )
    return taken.first() is not None


def extend(connection: Connection, name: str, *, holder: str, seconds: float) -> bool:
    """Return whether the holder still had the lease, which then lasts these seconds from now on."""
    extended = connection.execute(
        text(
            f"UPDATE leases SET until = {bulk.later_sql(connection, seconds)}"
            f" WHERE name = :name AND holder = :holder AND until > {bulk.now_sql(connection)}"
            " RETURNING name"
        ),
        {"name": name, "holder": holder},
    )
    return extended.first() is not None


def release(connection: Connection, name: str, *, holder: str) -> None:
    """End the lease if this holder has it; harmless otherwise."""
    connection.execute(
        text("DELETE FROM leases WHERE name = :name AND holder = :holder"), {"name": name, "holder": holder}
    )
