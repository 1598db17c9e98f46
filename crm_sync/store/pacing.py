"""What all workers share about one target, in its row: whether, when and how fast it may be pushed to.

The row is the hottest there is, so it is written only when something of this changes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, literal_column, select, text, update

from crm_sync.pace import Breaker, Rate
from crm_sync.store import bulk
from crm_sync.store.tables import TargetRow, UTCDateTime

_TARGETS = TargetRow.metadata.tables["targets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """A target's row as pushes see it; `now` is the database's instant at which it was read."""

    target_id: int
    is_live: bool
    not_before: datetime | None
    breaker: Breaker
    tat: datetime | None
    now: datetime

    def wait(self, rate: Rate | None, batch: int) -> timedelta | None:
        """Return how long it is until a batch may be pushed; None while a person has to act first.

        Where the rate allows only a part of a batch, it is worth waiting for the whole of it.
        """
        if not self.is_live:
            return None
        until = max((at for at in (self.not_before, self.breaker.open_until) if at), default=self.now)
        waits = [until - self.now, timedelta()]
        if rate is not None:
            waits.append(rate.wait(self.tat, self.now, batch))
        return max(waits)


def read(connection: Connection, target_id: int, *, lock: bool = False) -> Pacing | None:
    """Return the row, None when there is none. Locked, it stays so for the transaction; intake does not wait for it."""
    now = literal_column(bulk.now_sql(connection), UTCDateTime()).label("now")
    query = select(_TARGETS, now).where(_TARGETS.c.id == target_id)
    # PostgreSQL: FOR NO KEY UPDATE, since plain FOR UPDATE would stop every insert that references the target.
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).first()
    return None if row is None else _as_pacing(row)


def take(connection: Connection, pacing: Pacing, rate: Rate | None, count: int, *, lease_seconds: float) -> bool:
    """Take so many permits of a locked row, and tell whether the push is the probe of a breaker that is half open.

    Nobody else probes before this push must have settled, a lease from now.
    """
    is_probe = not pacing.breaker.is_closed()
    values: dict[str, Any] = {}
    if is_probe:
        values |= _columns(pacing.breaker.probing(pacing.now + timedelta(seconds=lease_seconds)))
    if rate is not None:
        values["tat"] = rate.taken(pacing.tat, pacing.now, count)
    _write(connection, pacing.target_id, values)
    return is_probe


def correct(connection: Connection, target_id: int, rate: Rate, count: int, *, age: timedelta = timedelta()) -> None:
    """Take so many permits more, for what was sent beyond what was claimed; or give back, as old as they are."""
    pacing = read(connection, target_id, lock=True)
    if pacing is None:
        return
    if count >= 0:
        tat = rate.taken(pacing.tat, pacing.now, count)
    else:
        tat = rate.given_back(pacing.tat, pacing.now, -count, age=age)
    _write(connection, target_id, {"tat": tat})


def untried(connection: Connection, target_id: int) -> None:
    """Let another delivery try at once: that of the probe needed no call, or had no time for one."""
    pacing = read(connection, target_id, lock=True)
    if pacing is not None and not pacing.breaker.is_closed():
        _write(connection, target_id, {"open_until": pacing.now})


def answered(connection: Connection, target_id: int) -> bool:
    """Note that the CRM has answered a call, and tell whether that closed the breaker."""
    known = read(connection, target_id)
    if known is None or known.breaker == Breaker():
        return False
    _write(connection, target_id, _columns(Breaker()))
    return not known.breaker.is_closed()


def failed(connection: Connection, target_id: int, *, was_probe: bool) -> Breaker | None:
    """Note that a call failed; return the breaker when that opened it."""
    pacing = read(connection, target_id, lock=True)
    if pacing is None:
        return None
    breaker = pacing.breaker.failed(pacing.now, was_probe=was_probe)
    if breaker == pacing.breaker:
        return None
    _write(connection, target_id, _columns(breaker))
    return breaker if breaker.trips > pacing.breaker.trips else None


def rest(connection: Connection, target_id: int, rest: timedelta) -> None:
    """Let nobody push to the target for so long from now, as its CRM has asked; the longest rest asked for holds."""
    until = bulk.later_sql(connection, rest.total_seconds())
    connection.execute(
        text(
            f"UPDATE targets SET not_before = {until} WHERE id = :id AND (not_before IS NULL OR not_before < {until})"
        ),
        {"id": target_id},
    )


def pause(connection: Connection, target_id: int, reason: str) -> None:
    """Let nobody push to a live target until a person resumes it."""
    values = {"state": "paused", "paused_at": text(bulk.now_sql(connection)), "paused_reason": reason}
    connection.execute(update(_TARGETS).where(_TARGETS.c.id == target_id, _TARGETS.c.state == "live").values(**values))


def _as_pacing(row: Any) -> Pacing:
    return Pacing(
        target_id=row.id,
        is_live=row.state == "live",
        not_before=row.not_before,
        breaker=Breaker(failures=row.failures, trips=row.trips, open_until=row.open_until),
        tat=row.tat,
        now=row.now,
    )


def _columns(breaker: Breaker) -> dict[str, Any]:
    return {"failures": breaker.failures, "trips": breaker.trips, "open_until": breaker.open_until}


def _write(connection: Connection, target_id: int, values: dict[str, Any]) -> None:
    if values:
        connection.execute(update(_TARGETS).where(_TARGETS.c.id == target_id).values(**values))
