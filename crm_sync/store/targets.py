"""The rows of `targets`: what intake owes by, and which targets may be pushed to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, func, select, text, update

from crm_sync.errors import NotFound
from crm_sync.store import bulk
from crm_sync.store.tables import DeliveryRow, TargetRow

log = structlog.get_logger(__name__)

_TARGETS = TargetRow.metadata.tables["targets"]
_DELIVERIES = DeliveryRow.metadata.tables["deliveries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target with what it is owed. `oldest_due_at` is the due time of the delivery that has waited longest."""

    id: int
    name: str
    adapter: str
    state: str
    paused_reason: str | None
    not_before: datetime | None
    owed: int = 0
    dead: int = 0
    delivered: int = 0
    oldest_due_at: datetime | None = None


def sync(connection: Connection, adapters: Mapping[str, str], *, retire_others: bool = False) -> dict[str, int]:
    """Bring the rows in line with the settings (name -> adapter) and return the ids by name.

    A new target owes from now on. With `retire_others` one that has left the settings is retired: its debts are kept
    and not claimed, and it is owed nothing new. When it is back it is as it was, paused or live.
    """
    now = bulk.now_sql(connection)
    known = {row.name: row for row in connection.execute(select(_TARGETS).order_by(_TARGETS.c.id).with_for_update())}
    for name, adapter in sorted(adapters.items()):
        row = known.get(name)
        if row is None:
            # Web and worker start together: both may find that the row is not there yet.
            connection.execute(
                text(f"""
                    INSERT INTO targets (name, adapter, state, created_at) VALUES (:name, :adapter, 'live', {now})
                    ON CONFLICT (name) DO NOTHING
                """),
                {"name": name, "adapter": adapter},
            )
        elif row.state == "retired" or row.adapter != adapter:
            back = "paused" if row.paused_at is not None else "live"
            state = back if row.state == "retired" else row.state
            connection.execute(update(_TARGETS).where(_TARGETS.c.id == row.id).values(adapter=adapter, state=state))
    for name, row in known.items():
        if retire_others and name not in adapters and row.state != "retired":
            log.warning("target_retired", target=name, remedy="it is missing from this process's settings")
            connection.execute(update(_TARGETS).where(_TARGETS.c.id == row.id).values(state="retired"))
    wanted = select(_TARGETS.c.name, _TARGETS.c.id).where(_TARGETS.c.name.in_(adapters))
    return {name: target_id for name, target_id in connection.execute(wanted)}


def pause(connection: Connection, name: str, reason: str) -> None:
    """Stop pushes to a live target. What it is owed waits, and goes on being owed."""
    _change(connection, name, {"state": "paused", "paused_at": text(bulk.now_sql(connection)), "paused_reason": reason})


def resume(connection: Connection, name: str) -> None:
    """Push to the target again, at once."""
    _change(connection, name, {"state": "live", "paused_at": None, "paused_reason": None, "not_before": None})


def let_rest(connection: Connection, target_id: int, rest: timedelta) -> None:
    """Let nobody push to the target for so long from now, as its CRM has asked; the longest rest asked for holds."""
    until = bulk.later_sql(connection, rest.total_seconds())
    connection.execute(
        text(
            f"UPDATE targets SET not_before = {until} WHERE id = :id AND (not_before IS NULL OR not_before < {until})"
        ),
        {"id": target_id},
    )


def paused(connection: Connection) -> list[str]:
    """Return the names of the targets that a person has to resume."""
    return list(
        connection.scalars(select(_TARGETS.c.name).where(_TARGETS.c.state == "paused").order_by(_TARGETS.c.name))
    )


def rows(connection: Connection) -> list[Target]:
    """Return all targets by name, with what they are owed."""
    d = _DELIVERIES.c
    found = connection.execute(
        select(
            _TARGETS,
            func.count(d.id).filter(d.state == "pending").label("owed"),
            func.count(d.id).filter(d.state == "dead").label("dead"),
            func.count(d.id).filter(d.state == "delivered").label("delivered"),
            func.min(d.due_at).filter(d.state == "pending").label("oldest_due_at"),
        )
        .join_from(_TARGETS, _DELIVERIES, d.target_id == _TARGETS.c.id, isouter=True)
        .group_by(_TARGETS.c.id)
        .order_by(_TARGETS.c.name)
    )
    names = Target.__dataclass_fields__
    return [Target(**{key: value for key, value in row._mapping.items() if key in names}) for row in found]


def _change(connection: Connection, name: str, values: Mapping[str, object]) -> None:
    changed = connection.execute(
        update(_TARGETS).where(_TARGETS.c.name == name, _TARGETS.c.state != "retired").values(**values)
    )
    if not changed.rowcount:
        raise NotFound(f"There is no target {name}, or it is retired: see crm-sync target list.")
