"""The one door out: claim what is due to a target, and settle what came of pushing it.

Nothing here waits for a CRM: a claim and its settling are two short transactions, joined by a token. A worker that
dies gives its claim back by doing nothing, once its lease has run out by the database's clock.

Lock order, here as in the inbox: the target, then deliveries by conversation id and target id; so no two transactions
wait for each other.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, text
from sqlalchemy.sql.schema import Table
from sqlalchemy.types import BigInteger, Boolean, Float, Integer, String, TypeEngine

from crm_sync.closure import FIELDS, Closure
from crm_sync.pace import Rate
from crm_sync.resolution import Status
from crm_sync.store import bulk, pacing
from crm_sync.store.tables import AttemptRow, ClosureRow, DeliveryRow, TargetRow

TOKEN_LENGTH = 32
LOSSES_APART = 2
"""Leases after whose loss a delivery is pushed while its worker pushes nothing else."""
LOSSES_ALONE = 3
"""Leases that a delivery may lose while it is claimed alone, before it is taken for what kills its worker."""


def _table(row: type[Any]) -> Table:
    return row.__table__  # type: ignore[no-any-return]  # typed as FromClause by SQLAlchemy


_TARGETS, _DELIVERIES, _CLOSURES, _ATTEMPTS = map(_table, (TargetRow, DeliveryRow, ClosureRow, AttemptRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that is ours while its lease lasts, and the closure as it was then.

    `token` is shared by the deliveries claimed together. `is_probe`: whether its CRM works is what we want to know.
    """

    delivery_id: int
    token: str
    closure: Closure
    version: int
    attempts: int
    lost_leases: int
    payload_hash: str | None
    push_again: bool
    redelivery: int
    crm_record_id: str | None
    is_probe: bool = False

    @property
    def may_take_its_worker_down(self) -> bool:
        """Whether it has lost leases twice in a row: it must not take others down with it a third time."""
        return LOSSES_APART <= self.lost_leases <= LOSSES_ALONE

    @property
    def took_its_worker_down(self) -> bool:
        """Whether it has lost so many leases, the last ones alone, that it must not be tried again."""
        return self.lost_leases > LOSSES_ALONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What came of a claim: the delivery's next state, and the attempt for the audit.

    `wait` is how long a pending delivery is left alone from now, by the database's clock.
    `payload_hash` is None when we cannot know what the CRM holds now. `sent` tells whether anything may have left for
    it.
    """

    claim: Claim
    state: str
    sent: bool
    push_key: str
    outcome: str
    started_at: datetime
    finished_at: datetime
    payload_hash: str | None = None
    wait: timedelta | None = None
    attempt_given_back: bool = False
    kind: str | None = None
    code: str | None = None
    message: str | None = None
    vendor_request_id: str | None = None
    record_id: str | None = None
    url: str | None = None


def wait(connection: Connection, target_id: int, *, limit: int, rate: Rate | None = None) -> timedelta | None:
    """Return how long it is until a claim may find something, None when nothing is due or a person has to act first.

    Reads only, so that looking costs nobody a lock.
    """
    d = _DELIVERIES.c
    due = select(d.id).where(d.target_id == target_id, d.in_background.in_((False, True)))
    if connection.execute(due.where(*_waits(bulk.now_sql(connection))).limit(1)).first() is None:
        return None
    found = pacing.read(connection, target_id)
    return None if found is None else found.wait(rate, limit)


def claim(
    connection: Connection,
    target_id: int,
    *,
    limit: int,
    lease_seconds: float,
    batch: int | None = None,
    rate: Rate | None = None,
    worker: str = "",
) -> list[Claim]:
    """Claim up to `limit` due deliveries of a target, the longest due first; none when it may not be pushed to.

    Under a rate it waits for the permits of one `batch`, or of all. A delivery that has lost a lease comes alone: it
    may be what took its worker down. So does the probe of a breaker that is half open. The tokens begin with the name
    of the `worker`.
    """
    allowed = pacing.read(connection, target_id, lock=True)
    if allowed is None or allowed.wait(rate, batch or limit) != timedelta():
        return []
    most = 1 if not allowed.breaker.is_closed() else limit
    most = most if rate is None else min(most, rate.permits(allowed.tat, allowed.now))
    now = bulk.now_sql(connection)
    chosen = _choose(connection, target_id, most, now)
    if not chosen:
        return []
    is_probe = pacing.take(connection, allowed, rate, len(chosen), lease_seconds=lease_seconds)
    token, until = (worker + secrets.token_hex(16))[:TOKEN_LENGTH], bulk.later_sql(connection, lease_seconds)
    # From now until the settle nobody knows what the CRM holds: if we die, the next one must not skip the push.
    connection.execute(
        text(f"""
            UPDATE deliveries SET claim_token = :token, lease_until = {until},
                attempts = attempts + 1, push_again = false, payload_hash = NULL,
                lost_leases = lost_leases + CASE WHEN lease_until IS NULL THEN 0 ELSE 1 END
            WHERE id IN :ids
        """).bindparams(bindparam("ids", expanding=True)),
        {"token": token, "ids": [row.id for row in chosen]},
    )
    before = {row.id: row for row in chosen}
    return [_as_claim(row, before[row.id], is_probe=is_probe) for row in _claimed(connection, list(before))]


def extend(connection: Connection, claims: Sequence[Claim], *, lease_seconds: float) -> set[str]:
    """Let these claims be ours for another lease, from now; return the tokens of which all still are."""
    held = _held(connection, claims)
    ours = [c.delivery_id for c in claims if held.get(c.delivery_id) == c.token]
    connection.execute(
        text(f"UPDATE deliveries SET lease_until = {bulk.later_sql(connection, lease_seconds)} WHERE id IN :ids")
        .bindparams(bindparam("ids", expanding=True)),
        {"ids": ours},
    )  # fmt: skip
    return {c.token for c in claims} - {c.token for c in claims if held.get(c.delivery_id) != c.token}


def forsake(connection: Connection, claims: Sequence[Claim]) -> None:
    """End the leases of claims whose push does not come back, as if their worker had died."""
    held = _held(connection, claims)
    connection.execute(
        text(f"UPDATE deliveries SET lease_until = {bulk.now_sql(connection)} WHERE id IN :ids")
        .bindparams(bindparam("ids", expanding=True)),
        {"ids": [c.delivery_id for c in claims if held.get(c.delivery_id) == c.token]},
    )  # fmt: skip


def settle(connection: Connection, settlements: Sequence[Settlement], unsent: Sequence[Claim] = ()) -> list[Claim]:
    """Write what came of these claims, and return those that came too late.

    The `unsent`, of which nothing was sent, are given back as if they had never been made. A claim is too late when
    its delivery carries another token by now. Then nothing is written, but that one which did send makes the delivery
    due once more: what it sent may have landed after something newer.
    """
    tokens = _held(connection, [*(s.claim for s in settlements), *unsent])
    in_time = [s for s in settlements if tokens.get(s.claim.delivery_id) == s.claim.token]
    late = [s for s in settlements if tokens.get(s.claim.delivery_id) != s.claim.token]
    if in_time:
        _write(connection, in_time)
    if unsent:
        _release(connection, unsent)
    landed = [s.claim.delivery_id for s in late if s.sent]
    if landed:
        now = bulk.now_sql(connection)
        connection.execute(
            text(f"""
                UPDATE deliveries SET push_again = true, redelivery = redelivery + 1, state = 'pending',
                    due_at = {now}, updated_at = {now}
                WHERE id IN :ids
            """).bindparams(bindparam("ids", expanding=True)),
            {"ids": landed},
        )
    return [s.claim for s in late]


def _release(connection: Connection, claims: Sequence[Claim]) -> None:
    connection.execute(
        text("""
            UPDATE deliveries SET claim_token = NULL, lease_until = NULL, attempts = attempts - 1,
                push_again = push_again OR :again, payload_hash = :hash
            WHERE id = :id AND claim_token = :token
        """),
        [{"id": c.delivery_id, "token": c.token, "again": c.push_again, "hash": c.payload_hash} for c in claims],
    )


def _held(connection: Connection, claims: Sequence[Claim]) -> dict[int, str | None]:
    """Lock the deliveries of these claims, and return the token that each of them carries by now."""
    d = _DELIVERIES.c
    query = select(d.id, d.claim_token).where(d.id.in_([claim.delivery_id for claim in claims]))
    locked = query.order_by(d.conversation_id, d.target_id).with_for_update()
    return {row.id: row.claim_token for row in connection.execute(locked)}


def _waits(now: str) -> list[Any]:
    """Return what makes a delivery due: pending, its time come, and in nobody's hands."""
    d = _DELIVERIES.c
    due, lost = text(f"deliveries.due_at <= {now}"), text(f"deliveries.lease_until < {now}")
    return [d.state == "pending", due, or_(d.lease_until.is_(None), lost)]


def _choose(connection: Connection, target_id: int, limit: int, now: str) -> Sequence[Any]:
    """Return what is due: what waits in the background only when there is nothing else."""
    d = _DELIVERIES.c
    for in_background in (False, True):
        due = connection.execute(
            select(d.id, d.push_again, d.payload_hash, d.lease_until, d.lost_leases)
            .where(d.target_id == target_id, d.in_background == in_background, *_waits(now))
            .order_by(d.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        if due:
            return _without_suspects(due)
    return []


def _without_suspects(due: Sequence[Any]) -> Sequence[Any]:
    """Return the first alone when it has lost a lease, else all that have not."""
    suspect = [row for row in due if row.lost_leases or row.lease_until is not None]
    if not suspect:
        return due
    return due[:1] if due[0] in suspect else [row for row in due if row not in suspect]


def _claimed(connection: Connection, delivery_ids: Sequence[int]) -> Sequence[Any]:
    return connection.execute(
        select(_DELIVERIES, _CLOSURES)
        .join_from(_DELIVERIES, _CLOSURES, _DELIVERIES.c.conversation_id == _CLOSURES.c.conversation_id)
        .where(_DELIVERIES.c.id.in_(delivery_ids))
        .order_by(_DELIVERIES.c.due_at, _DELIVERIES.c.id)
        .with_only_columns(
            *(_DELIVERIES.c[name] for name in ("id", "claim_token", "attempts", "lost_leases", "redelivery",
                                               "crm_record_id")),
            *(_CLOSURES.c[name] for name in (*FIELDS, "version")),
        )
    ).all()  # fmt: skip


def _as_claim(row: Any, before: Any, *, is_probe: bool) -> Claim:
    return Claim(
        delivery_id=row.id,
        token=row.claim_token,
        closure=as_closure(row),
        version=row.version,
        attempts=row.attempts,
        lost_leases=row.lost_leases,
        payload_hash=before.payload_hash,
        push_again=before.push_again,
        redelivery=row.redelivery,
        crm_record_id=row.crm_record_id,
        is_probe=is_probe,
    )


def as_closure(row: Any) -> Closure:
    """Return the closure that a row with its columns holds."""
    values = {name: getattr(row, name) for name in FIELDS}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Closure(**values | {"resolution": Status(row.resolution)})


_SETTLED: dict[str, TypeEngine[Any]] = {
    "id": BigInteger(), "state": String(), "version": BigInteger(), "payload_hash": String(),
    "wait": Float(), "given_back": Integer(), "is_done": Boolean(), "message": String(),
    "record_id": String(), "url": String(),
}  # fmt: skip


def _write(connection: Connection, settlements: Sequence[Settlement]) -> None:
    records = [
        {
            "id": s.claim.delivery_id,
            "state": s.state,
            "version": s.claim.version,
            "payload_hash": s.payload_hash,
            "wait": s.wait.total_seconds() if s.wait else 0.0,
            "given_back": int(s.attempt_given_back),
            "is_done": s.state == "delivered",
            "message": s.message,
            "record_id": s.record_id,
            "url": s.url,
        }
        for s in settlements
    ]
    source, parameters = bulk.typed_rows(connection, _SETTLED, records)
    now = bulk.now_sql(connection)
    # What became newer, or was asked for again, while we pushed is owed at once; fresh data may heal a dead one, too.
    more = "(r.state <> 'pending' AND (deliveries.desired_version > r.version OR deliveries.push_again))"
    connection.execute(
        text(f"""
            UPDATE deliveries SET
                state = CASE WHEN {more} THEN 'pending' ELSE r.state END,
                due_at = CASE WHEN {more} THEN {now} ELSE {bulk.later_sql(connection, "r.wait")} END,
                delivered_version = CASE WHEN r.is_done THEN r.version ELSE deliveries.delivered_version END,
                delivered_at = CASE WHEN r.is_done THEN {now} ELSE deliveries.delivered_at END,
                payload_hash = r.payload_hash,
                attempts = CASE WHEN r.is_done OR {more} THEN 0 ELSE deliveries.attempts - r.given_back END,
                lost_leases = 0,  -- Who settles in time has lived.
                last_error = CASE WHEN r.is_done THEN NULL ELSE r.message END,
                crm_record_id = coalesce(r.record_id, deliveries.crm_record_id),
                crm_url = coalesce(r.url, deliveries.crm_url),
                lease_until = NULL, claim_token = NULL, updated_at = {now}
            FROM {source} WHERE deliveries.id = r.id
        """),
        parameters,
    )
    connection.execute(insert(_ATTEMPTS), [_attempt(s) for s in settlements])


def _attempt(settlement: Settlement) -> dict[str, Any]:
    return {
        "delivery_id": settlement.claim.delivery_id,
        "version": settlement.claim.version,
        "push_key": settlement.push_key,
        "outcome": settlement.outcome,
        "kind": settlement.kind,
        "code": settlement.code,
        "message": settlement.message,
        "vendor_request_id": settlement.vendor_request_id,
        "started_at": settlement.started_at,
        "finished_at": settlement.finished_at,
    }
