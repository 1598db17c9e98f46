"""What a person asks for by hand: deliveries owed once more, the past owed to a target, targets renamed and removed.

Everything goes page by page: pages are looked for in transactions that lock nothing, and written in short ones of their
own. Lock order, here as in the inbox and the outbox: the target, closures, then deliveries by conversation id.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from crm_sync import clock
from crm_sync.errors import Conflict, NotFound
from crm_sync.store import bulk, debts
from crm_sync.store.debts import Raised
from crm_sync.store.tables import AttemptRow, ClosureRow, DeliveryRow, TargetRow, UTCDateTime
from crm_sync.when import When

_TARGETS = TargetRow.metadata.tables["targets"]
_CLOSURES = ClosureRow.metadata.tables["closures"]
_DELIVERIES = DeliveryRow.metadata.tables["deliveries"]
_ATTEMPTS = AttemptRow.metadata.tables["delivery_attempts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The instants from `since` on and before `until`; None leaves an end open."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, instant: Any) -> list[ColumnElement[bool]]:
        """Return the conditions under which a column's instant lies within."""
        bounds = [] if self.since is None else [instant >= self.since]
        return bounds if self.until is None else [*bounds, instant < self.until]


ANY_TIME = Window()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries to redeliver: those that have not changed after `as_of`, and fit all that is given.

    `ended` is when their conversations ended, `code` the code of the last attempt.
    """

    as_of: datetime
    conversation_ids: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    states: tuple[str, ...] = ("dead",)
    ended: Window = ANY_TIME
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many deliveries of one target and state are wanted."""

    target: str
    target_state: str
    state: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The closures of a window, as a target sees them: those to be owed, owed already (or told), and not chosen."""

    to_owe: int
    owed_already: int
    not_chosen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A target as it is now."""

    id: int
    name: str
    state: str
    owed_when: When
    named_until: datetime | None


def be_patient(connection: Connection, *, seconds: int = 0) -> None:
    """Let each statement of this reading last so long, or as long as it must: over millions of rows that is minutes."""
    if connection.dialect.name == "postgresql":
        allowed = f"'{seconds}s'"
        connection.execute(
            text(f"SELECT set_config('statement_timeout', {allowed}, true), set_config('jit', 'off', true)")
        )


def now(connection: Connection) -> datetime:
    """Return an instant, in whole milliseconds, that is not before any change made so far."""
    found = connection.scalar(select(literal_column(bulk.now_sql(connection), UTCDateTime())))
    assert found is not None
    return clock.from_ms(clock.to_ms(found) + 1)


def target(connection: Connection, name: str, *, lock: Literal["key", "row"] | None = None) -> Served:
    """Return a target by its name; raises NotFound.

    With a lock it is not removed meanwhile; with that of the row nothing of it changes, and workers wait.
    """
    query = select(_TARGETS).where(_TARGETS.c.name == name)
    row = connection.execute(query.with_for_update(read=True, key_share=lock == "key") if lock else query).first()
    if row is None:
        raise NotFound(f"There is no target {name}: see crm-sync target list.")
    when = When.from_record(row.owed_when)
    return Served(id=row.id, name=row.name, state=row.state, owed_when=when, named_until=row.named_until)


def await_intake(connection: Connection) -> None:
    """Wait until every intake that knew the targets as they were before this has ended; new ones wait for us.

    On SQLite this transaction is the only one that writes. On PostgreSQL an intake holds a lock on the table from the
    moment at which it reads the targets. Waiting for the lock of a row instead could last for ever: intakes share it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE targets IN EXCLUSIVE MODE"))


def count(connection: Connection, wanted: Wanted) -> list[Count]:
    """Return how many deliveries are wanted, by target and state; raises NotFound for what nobody knows."""
    for name in wanted.targets:
        target(connection, name)
    c, d, t = _CLOSURES.c, _DELIVERIES.c, _TARGETS.c
    for conversation_id in wanted.conversation_ids:
        if connection.scalar(select(c.conversation_id).where(c.conversation_id == conversation_id)) is None:
            raise NotFound(f"No closure of conversation {conversation_id} is known here.")
    found = connection.execute(
        select(t.name, t.state.label("target_state"), d.state, func.count())
        .join_from(_DELIVERIES, _TARGETS, d.target_id == t.id)
        .where(*_fit(wanted))
        .group_by(t.name, t.state, d.state)
        .order_by(t.name, d.state)
    )
    return [Count(target=name, target_state=kept, state=state, count=many) for name, kept, state, many in found]


def page(connection: Connection, wanted: Wanted, *, after: tuple[int, str], limit: int) -> Sequence[Any]:
    """Return the next wanted deliveries by target and conversation: their id, target_id and conversation_id.

    `after` is target and conversation of the last one of the page before, 0 and nothing at first.
    """
    d = _DELIVERIES.c
    place = tuple_(literal(after[0], d.target_id.type), literal(after[1], d.conversation_id.type))
    query = select(d.id, d.target_id, d.conversation_id).where(*_fit(wanted))
    query = query.where(tuple_(d.target_id, d.conversation_id) > place)
    return connection.execute(query.order_by(d.target_id, d.conversation_id).limit(limit)).all()


def redeliver(connection: Connection, wanted: Wanted, ids: Sequence[int], *, in_background: bool) -> int:
    """Let those of these deliveries that are still wanted be due, as if new, and return how many that were.

    One that a worker holds right now is only pushed once more: its settle makes it due, unless it was to be tried again
    anyway. All are marked as changed after `as_of`, so that none is redelivered twice for one wish.
    """
    d, moment = _DELIVERIES.c, literal_column(bulk.now_sql(connection), UTCDateTime())
    query = select(d.id).where(d.id.in_(ids), *_fit(wanted)).order_by(d.conversation_id, d.target_id)
    locked = connection.scalars(query.with_for_update()).all()
    if not locked:
        return 0
    at_once = {"due_at": moment, "attempts": 0, "lost_leases": 0, "in_background": in_background}
    latest = getattr(func, bulk.greatest_sql(connection))
    connection.execute(
        update(_DELIVERIES)
        .where(d.id.in_(locked))
        .values(
            state="pending",
            push_again=True,
            redelivery=d.redelivery + 1,
            updated_at=latest(moment, literal(wanted.as_of + timedelta(milliseconds=1), UTCDateTime())),
            **{name: case((d.claim_token.is_(None), value), else_=d[name]) for name, value in at_once.items()},
        )
    )
    debts.wake(connection)
    return len(locked)


def past(connection: Connection, to: Served, ended: Window) -> Past:
    """Return how many closures of a window a target is to be owed, and how many it is not."""
    c, d = _CLOSURES.c, _DELIVERIES.c
    # Counted apart: joined to all closures, the deliveries of a new target, of which PostgreSQL's statistics know
    # nothing yet, would be gone through once for each of them.
    in_all = _by_choice(connection, to, ended, select(_CLOSURES))
    owed = _by_choice(
        connection,
        to,
        ended,
        select(_CLOSURES)
        .join_from(_DELIVERIES, _CLOSURES, d.conversation_id == c.conversation_id)
        .where(d.target_id == to.id),
    )
    return Past(to_owe=in_all[True] - owed[True], owed_already=owed.total(), not_chosen=in_all[False] - owed[False])


def page_of_past(connection: Connection, to: Served, ended: Window, *, after: str, limit: int) -> tuple[str, list[str]]:
    """Go on through the closures of a window; return the last one, and those to be owed to the target.

    The last one is empty at the end.
    """
    c, d = _CLOSURES.c, _DELIVERIES.c
    query = _raised(select(_CLOSURES).where(c.closed, *ended.holds(c.ended_at), c.conversation_id > after))
    found = connection.execute(query.order_by(c.conversation_id).limit(limit)).all()
    chosen = [row.conversation_id for row in found if _is_chosen(row, to)]
    owed = select(d.conversation_id).where(d.target_id == to.id, d.conversation_id.in_(chosen))
    known = set(connection.scalars(owed))
    return (found[-1].conversation_id if found else "", [each for each in chosen if each not in known])


def owe_past(connection: Connection, name: str, conversation_ids: Sequence[str]) -> int:
    """Owe these closures to a target, in the background, where it is not owed them yet; return how many that were.

    Raises Conflict for a target that is retired. An intake that changes one of the closures comes before us or after
    us: before, it owes the closure by itself; after, it raises what we owe.
    """
    to = require_served(target(connection, name, lock="key"))
    c = _CLOSURES.c
    # Locked before the insert, whose foreign key would lock them after it: an intake goes that way round, too.
    query = _raised(select(_CLOSURES).where(c.conversation_id.in_(conversation_ids)))
    locked = connection.execute(query.order_by(c.conversation_id).with_for_update(read=True)).all()
    chosen = [row.conversation_id for row in locked if _is_chosen(row, to)]
    if not chosen:
        return 0
    moment = bulk.now_sql(connection)
    owed = connection.execute(
        text(f"""
            INSERT INTO deliveries (target_id, conversation_id, state, desired_version, due_at, attempts, lost_leases,
                                    push_again, redelivery, in_background, created_at, updated_at)
            SELECT :target_id, conversation_id, 'pending', version, {moment}, 0, 0, false, 0, true, {moment}, {moment}
            FROM closures WHERE conversation_id IN :chosen ORDER BY conversation_id
            ON CONFLICT (target_id, conversation_id) DO NOTHING
        """).bindparams(bindparam("chosen", expanding=True)),
        {"target_id": to.id, "chosen": chosen},
    )
    if owed.rowcount:
        debts.wake(connection)
    return owed.rowcount


def require_served(to: Served) -> Served:
    """Return a target that is owed what ends; raises Conflict for one that is retired."""
    if to.state == "retired":
        raise Conflict(f"Target {to.name} is retired: name it in the settings, start the service, and try again.")
    return to


def rename(connection: Connection, old: str, new: str) -> None:
    """Let a target be called by another name; raises NotFound, and Conflict for a name that is taken."""
    try:
        renamed = connection.execute(update(_TARGETS).where(_TARGETS.c.name == old).values(name=new))
    except IntegrityError as error:
        raise Conflict(f"There is a target {new} already: see crm-sync target list.") from error
    if not renamed.rowcount:
        raise NotFound(f"There is no target {old}: see crm-sync target list.")


def end_debts(connection: Connection, name: str, *, limit: int) -> int:
    """End up to so many debts of a retired target, with their attempts, and return how many; raises as `removable`."""
    to, d = removable(target(connection, name, lock="row")), _DELIVERIES.c
    query = select(d.id).where(d.target_id == to.id).order_by(d.conversation_id).limit(limit)
    ids = connection.scalars(query.with_for_update()).all()
    connection.execute(delete(_DELIVERIES).where(d.id.in_(ids)))
    return len(ids)


def remove(connection: Connection, name: str) -> bool:
    """Remove a retired target that is owed nothing any more, and tell whether that was so; raises as `removable`."""
    await_intake(connection)  # An intake may be about to owe it a newer version of what it has been owed.
    to = removable(target(connection, name))
    owed = select(_DELIVERIES.c.id).where(_DELIVERIES.c.target_id == to.id).exists()
    return bool(connection.execute(delete(_TARGETS).where(_TARGETS.c.id == to.id, ~owed)).rowcount)


def removable(to: Served) -> Served:
    """Return a target that is retired; raises Conflict, which says how it becomes so, for any other."""
    if to.state != "retired":
        until = f", from {clock.to_text(to.named_until)} on at the earliest" if to.named_until else ""
        raise Conflict(
            f"Target {to.name} is {to.state}: take [targets.{to.name}] out of the settings and restart web and worker."
            f" It is retired once no process has named it for a while{until}, and can be removed then."
        )
    return to


def _fit(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return what is true of a wanted delivery, of its own row alone: so it can be asked again under its lock."""
    c, d, t = _CLOSURES.c, _DELIVERIES.c, _TARGETS.c
    conditions: list[ColumnElement[bool]] = [d.state.in_(wanted.states), d.updated_at <= wanted.as_of]
    if wanted.conversation_ids:
        conditions.append(d.conversation_id.in_(wanted.conversation_ids))
    if wanted.targets:
        conditions.append(d.target_id.in_(select(t.id).where(t.name.in_(wanted.targets))))
    if within := wanted.ended.holds(c.ended_at):
        conditions.append(d.conversation_id.in_(select(c.conversation_id).where(*within)))
    if wanted.code is not None:
        conditions.append(_last_code() == wanted.code)
    return conditions


def _last_code() -> Any:
    a = _ATTEMPTS.c
    last = select(a.code).where(a.delivery_id == _DELIVERIES.c.id).correlate(_DELIVERIES)
    # Versions never fall. By the id alone PostgreSQL may choose to walk all attempts from the newest on.
    return last.order_by(a.version.desc(), a.id.desc()).limit(1).scalar_subquery()


def _by_choice(connection: Connection, to: Served, ended: Window, closures: Select[Any]) -> "Counter[bool]":
    """Return how many of these closures have ended in the window, by whether the target chooses them."""
    c = _CLOSURES.c
    features = (c.media_type, c.direction, c.queue_ids, c.division_ids)
    query = closures.where(c.closed, *ended.holds(c.ended_at)).with_only_columns(*features, func.count().label("many"))
    counted: Counter[bool] = Counter()
    for row in connection.execute(query.group_by(*features)):
        counted[to.owed_when.chooses(**{each.name: row._mapping[each] for each in features})] += row.many
    return counted


def _is_chosen(row: Any, to: Served) -> bool:
    return Raised.from_columns(row._mapping, version=row.version).is_owed(to.owed_when)


def _raised(query: Any) -> Any:
    """Return the query with the columns that decide who is owed a closure."""
    return query.with_only_columns(*(_CLOSURES.c[name] for name in Raised.__dataclass_fields__))
