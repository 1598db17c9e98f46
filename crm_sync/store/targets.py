"""The rows of `targets`: what intake owes by, and which targets may be pushed to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, Select, and_, bindparam, case, func, literal_column, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from crm_sync.errors import NotFound
from crm_sync.settings_targets import TargetSettings
from crm_sync.store import bulk
from crm_sync.store.tables import ClosureRow, DeliveryRow, TargetRow

log = structlog.get_logger(__name__)

NAMED_AT_START = timedelta(hours=1)
NAMED_BY_A_WORKER = timedelta(minutes=10)
"""How long a target is kept for a process that named it at its start, and for a worker, which says so every minute."""

_TARGETS = TargetRow.metadata.tables["targets"]
_DELIVERIES = DeliveryRow.metadata.tables["deliveries"]
_CLOSURES = ClosureRow.metadata.tables["closures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target with what it is owed; `owed_since` is the instant since which the oldest of that has been owed."""

    id: int
    name: str
    adapter: str
    state: str
    paused_reason: str | None
    not_before: datetime | None
    open_until: datetime | None
    owed: int = 0
    dead: int = 0
    delivered: int = 0
    owed_since: datetime | None = None


def sync(connection: Connection, named: Mapping[str, TargetSettings]) -> dict[str, int]:
    """Bring the rows in line with the targets that this process's settings name, and return their ids by name.

    A new target owes from now on. One that was retired is as it was before, paused or live.
    """
    known = {row.name: row for row in connection.execute(_locked(select(_TARGETS)))}
    for name, settings in sorted(named.items()):
        told = {"adapter": settings.adapter, "owed_when": settings.when.as_when().as_record()}
        row = known.get(name)
        if row is None:
            _insert(connection, name, told)
        elif told != {key: row._mapping[key] for key in told}:
            log.info("target_changed", target=name, adapter=settings.adapter, owed_when=told["owed_when"])
            connection.execute(update(_TARGETS).where(_TARGETS.c.id == row.id).values(**told))
    wanted = select(_TARGETS.c.name, _TARGETS.c.id).where(_TARGETS.c.name.in_(named))
    ids = {name: target_id for name, target_id in connection.execute(wanted)}
    _name(connection, ids.values(), NAMED_AT_START)
    return ids


def keep(connection: Connection, target_ids: Collection[int]) -> None:
    """Say that a worker serves these targets, and retire those that no process has named for a while.

    A retired target's debts are kept and not claimed, and it is owed nothing new. The while lets hosts be given a new
    target one after the other: one that does not know it yet must not end what it is owed.
    """
    _name(connection, target_ids, NAMED_BY_A_WORKER)
    retire_unnamed(connection)


def retire_unnamed(connection: Connection) -> None:
    """Retire the targets that no process has named for a while."""
    now = bulk.now_sql(connection)
    retired = connection.execute(
        text(f"""
            UPDATE targets SET state = 'retired'
            WHERE state <> 'retired' AND (named_until IS NULL OR named_until < {now}) RETURNING name
        """)
    )
    for name in retired.scalars().all():
        log.warning("target_retired", target=name, remedy="no running process has it in its settings")


def pause(connection: Connection, name: str, reason: str) -> None:
    """Stop pushes to a live target. What it is owed waits, and goes on being owed."""
    _change(connection, name, {"state": "paused", "paused_at": text(bulk.now_sql(connection)), "paused_reason": reason})


def resume(connection: Connection, name: str) -> None:
    """Push to the target again, at once."""
    _change(connection, name, {"state": "live", "paused_at": None, "paused_reason": None, "not_before": None,
                               "failures": 0, "trips": 0, "open_until": None, "tat": None})  # fmt: skip


def paused(connection: Connection) -> list[str]:
    """Return the names of the targets that a person has to resume."""
    return list(
        connection.scalars(select(_TARGETS.c.name).where(_TARGETS.c.state == "paused").order_by(_TARGETS.c.name))
    )


def rows(connection: Connection) -> list[Target]:
    """Return all targets by name, with what they are owed."""
    d, c = _DELIVERIES.c, _CLOSURES.c
    since = case((c.updated_at > d.created_at, c.updated_at), else_=d.created_at)
    found = connection.execute(
        select(
            _TARGETS,
            func.count(d.id).filter(d.state == "pending").label("owed"),
            func.count(d.id).filter(d.state == "dead").label("dead"),
            func.count(d.id).filter(d.state == "delivered").label("delivered"),
            func.min(since).filter(d.state == "pending").label("owed_since"),
        )
        .join_from(_TARGETS, _DELIVERIES, d.target_id == _TARGETS.c.id, isouter=True)
        .join(_CLOSURES, and_(c.conversation_id == d.conversation_id, d.state == "pending"), isouter=True)
        .group_by(_TARGETS.c.id)
        .order_by(_TARGETS.c.name)
    )
    names = Target.__dataclass_fields__
    return [Target(**{key: value for key, value in row._mapping.items() if key in names}) for row in found]


def _locked(query: Select[Any]) -> Select[Any]:
    """Lock in one order everywhere, and so that intake, which references the rows, goes on."""
    return query.order_by(_TARGETS.c.id).with_for_update(key_share=True)


def _insert(connection: Connection, name: str, told: Mapping[str, Any]) -> None:
    # Web and worker start together: both may find that the row is not there yet.
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"name": name, "state": "live", "created_at": literal_column(bulk.now_sql(connection)), **told}
    connection.execute(insert(_TARGETS).values(**values).on_conflict_do_nothing(index_elements=["name"]))


def _name(connection: Connection, target_ids: Collection[int], span: timedelta) -> None:
    until = bulk.later_sql(connection, span.total_seconds())
    connection.execute(
        text(f"""
            UPDATE targets SET
                named_until = {bulk.greatest_sql(connection)}(coalesce(named_until, {until}), {until}),
                state = CASE WHEN state <> 'retired' THEN state WHEN paused_at IS NULL THEN 'live' ELSE 'paused' END
            WHERE id IN :ids
        """).bindparams(bindparam("ids", expanding=True)),
        {"ids": sorted(target_ids)},
    )


def _change(connection: Connection, name: str, values: Mapping[str, object]) -> None:
    changed = connection.execute(
        update(_TARGETS).where(_TARGETS.c.name == name, _TARGETS.c.state != "retired").values(**values)
    )
    if not changed.rowcount:
        raise NotFound(f"There is no target {name}, or it is retired: see crm-sync target list.")
