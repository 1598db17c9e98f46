"""Runs through analytics: how far each has come, and what it found missing or different."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, literal_column, select, update

from crm_sync.store import bulk
from crm_sync.store.tables import ClosureRow, DriftRow, ReconciliationRow, UTCDateTime

_RUNS = ReconciliationRow.metadata.tables["reconciliations"]
_DRIFT = DriftRow.metadata.tables["drift"]
_CLOSURES = ClosureRow.metadata.tables["closures"]

TELLING = ("closed", "resolution", "wrapup_code", "disconnect_type", "agent_took_part")
"""What makes a closure different: what somebody acts on. A record also adds what no event tells, which is no drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run: its parts as they were planned, in which of them it is, and where in that. Counts are of all its pages."""

    id: int
    state: str
    since: datetime
    until: datetime
    parts: list[dict[str, Any]]
    part: int
    job_id: str | None
    next_cursor: str | None
    pages: int
    conversations: int
    missed: int
    different: int
    unreadable: int
    error: str | None
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One conversation that was `missed`, or `different` in these fields: name -> [what we had, what holds now]."""

    conversation_id: str
    what: str
    fields: Mapping[str, list[Any]]
    ended_at: datetime | None
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed(Drift):
    """A drift as it is kept."""

    reconciliation_id: int
    noticed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one page came to, and where the run goes on."""

    part: int
    job_id: str | None = None
    next_cursor: str | None = None
    pages: int = 1
    conversations: int = 0
    unreadable: int = 0
    drift: Sequence[Drift] = field(default_factory=tuple)


def start(connection: Connection, *, since: datetime, until: datetime, parts: Sequence[Mapping[str, Any]]) -> Run:
    """Begin a run."""
    now = _now(connection)
    counts = dict.fromkeys(("part", "pages", "conversations", "missed", "different", "unreadable"), 0)
    begun = {"state": "running", "since": since, "until": until, "parts": list(parts), **counts}
    row = connection.execute(
        insert(_RUNS).values(**begun, started_at=now, updated_at=now).returning(*_RUNS.c)
    ).one()  # fmt: skip
    return _run(row)


def unfinished(connection: Connection) -> Run | None:
    """Return the oldest run that has been begun and not ended."""
    query = select(_RUNS).where(_RUNS.c.state == "running").order_by(_RUNS.c.id).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _run(row)


def find(connection: Connection, run_id: int) -> Run:
    """Return a run that exists."""
    return _run(connection.execute(select(_RUNS).where(_RUNS.c.id == run_id)).one())


def recent(connection: Connection, limit: int) -> list[Run]:
    """Return the newest runs, the last one first."""
    return [_run(row) for row in connection.execute(select(_RUNS).order_by(_RUNS.c.id.desc()).limit(limit))]


def is_due(connection: Connection, *, every_seconds: float) -> bool | None:
    """Tell whether a run is to go on, or the last one was so long ago; None where there never was one."""
    oldest = literal_column(bulk.later_sql(connection, -every_seconds), UTCDateTime())
    query = select(_RUNS.c.state, _RUNS.c.updated_at <= oldest).order_by(_RUNS.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else row[0] == "running" or bool(row[1])


def progress(connection: Connection, run_id: int, made: Progress) -> None:
    """Keep what a page came to, in the transaction that records its conversations."""
    c, now = _RUNS.c, _now(connection)
    missed = sum(drift.what == "missed" for drift in made.drift)
    connection.execute(
        update(_RUNS)
        .where(c.id == run_id)
        .values(
            part=made.part,
            job_id=made.job_id,
            next_cursor=made.next_cursor,
            pages=c.pages + made.pages,
            conversations=c.conversations + made.conversations,
            missed=c.missed + missed,
            different=c.different + len(made.drift) - missed,
            unreadable=c.unreadable + made.unreadable,
            error=None,
            updated_at=now,
        )
    )
    if made.drift:
        rows = [
            {
                "reconciliation_id": run_id,
                "conversation_id": drift.conversation_id,
                "what": drift.what,
                "fields": dict(drift.fields),
                "ended_at": drift.ended_at,
                "event_id": drift.event_id,
            }
            for drift in made.drift
        ]
        connection.execute(insert(_DRIFT).values(noticed_at=now), rows)


def note(connection: Connection, run_id: int, *, job_id: str | None = None, error: str | None = None) -> None:
    """Keep a job that was asked for, or why the run does not get on. It stays where it is."""
    values = {"job_id": job_id, "error": error}
    connection.execute(update(_RUNS).where(_RUNS.c.id == run_id).values(**values, updated_at=_now(connection)))


def end(connection: Connection, run_id: int) -> Run:
    """End a run, and return it."""
    now = _now(connection)
    values = {"state": "done", "error": None, "updated_at": now, "finished_at": now}
    return _run(
        connection.execute(update(_RUNS).where(_RUNS.c.id == run_id).values(**values).returning(*_RUNS.c)).one()
    )


def told(connection: Connection, conversation_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what decides about drift in these closures, of those that are known; locks them."""
    c = _CLOSURES.c
    columns = (c.conversation_id, c.ended_at, c.resolution_source, *(c[name] for name in TELLING))
    query = select(*columns).where(c.conversation_id.in_(conversation_ids)).order_by(c.conversation_id)
    return {row.conversation_id: dict(row._mapping) for row in connection.execute(query.with_for_update())}


def drift(connection: Connection, *, since: datetime | None, run_id: int | None, limit: int) -> list[Noticed]:
    """Return what was found, the newest first."""
    query = select(_DRIFT).order_by(_DRIFT.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(_DRIFT.c.noticed_at >= since)
    if run_id is not None:
        query = query.where(_DRIFT.c.reconciliation_id == run_id)
    names = Noticed.__dataclass_fields__
    return [
        Noticed(**{name: value for name, value in row._mapping.items() if name in names})
        for row in connection.execute(query)
    ]


def _now(connection: Connection) -> Any:
    return literal_column(bulk.now_sql(connection), UTCDateTime())


def _run(row: Row[Any]) -> Run:
    return Run(**row._mapping)
