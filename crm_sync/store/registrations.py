"""What we have told Genesys Cloud about where we are, and what came of the last try."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, text

from crm_sync.store import bulk
from crm_sync.store.tables import RegistrationRow

_REGISTRATIONS = RegistrationRow.metadata.tables["registrations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registration: `fingerprint` is of what was last registered, `updated_at` since when the state holds."""

    name: str
    remote_id: str | None
    url: str
    fingerprint: str
    state: str
    error: str | None
    updated_at: datetime


def find(connection: Connection, name: str) -> Registration | None:
    """Return a registration, or None where there never was one."""
    row = connection.execute(select(_REGISTRATIONS).where(_REGISTRATIONS.c.name == name)).first()
    return None if row is None else Registration(**row._mapping)


def succeed(connection: Connection, name: str, *, remote_id: str | None, url: str, fingerprint: str) -> None:
    """Remember what is registered now."""
    connection.execute(
        text(
            "INSERT INTO registrations (name, remote_id, url, fingerprint, state, error, updated_at)"
            f" VALUES (:name, :remote_id, :url, :fingerprint, 'registered', NULL, {bulk.now_sql(connection)})"
            " ON CONFLICT (name) DO UPDATE SET remote_id = excluded.remote_id, url = excluded.url,"
            " fingerprint = excluded.fingerprint, state = 'registered', error = NULL, updated_at = excluded.updated_at"
        ),
        {"name": name, "remote_id": remote_id, "url": url, "fingerprint": fingerprint},
    )


def fail(connection: Connection, name: str, *, url: str, error: str) -> None:
    """Remember that the last try failed; what was registered before stays known, and so does since when it fails."""
    connection.execute(
        text(
            "INSERT INTO registrations (name, remote_id, url, fingerprint, state, error, updated_at)"
            f" VALUES (:name, NULL, :url, '', 'failed', :error, {bulk.now_sql(connection)})"
            " ON CONFLICT (name) DO UPDATE SET state = 'failed', error = excluded.error, updated_at ="
            " CASE WHEN registrations.state = 'failed' THEN registrations.updated_at ELSE excluded.updated_at END"
        ),
        {"name": name, "url": url, "error": error},
    )


def forget(connection: Connection, name: str) -> None:
    """Remember nothing of a registration; harmless when repeated."""
    connection.execute(delete(_REGISTRATIONS).where(_REGISTRATIONS.c.name == name))
