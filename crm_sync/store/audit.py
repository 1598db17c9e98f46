"""Each conversation from its start to the CRMs, as entries of an audit. Read page by page; nothing here writes."""

import json
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select, tuple_

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.store.engine import Database
from crm_sync.store.repairs import ANY_TIME, Window
from crm_sync.store.tables import (
    AgentSessionRow,
    AttemptRow,
    ClosureRow,
    DeliveryRow,
    DriftRow,
    EventRow,
    TargetRow,
)

PAGE = 200

_SESSIONS = AgentSessionRow.metadata.tables["agent_sessions"]
_EVENTS = EventRow.metadata.tables["events"]
_CLOSURES = ClosureRow.metadata.tables["closures"]
_DELIVERIES = DeliveryRow.metadata.tables["deliveries"]
_ATTEMPTS = AttemptRow.metadata.tables["delivery_attempts"]
_TARGETS = TargetRow.metadata.tables["targets"]
_DRIFT = DriftRow.metadata.tables["drift"]

CLOSURE = (
    "organization_id", "closed", "started_at", "ended_at", "customer_left_at", "media_type", "direction", "resolution",
    "resolution_source", "resolution_reason", "resolution_final", "agent_took_part", "version", "updated_at",
)  # fmt: skip
_SESSION = ("id", "state", "requested_at", "started_at", "bot_id", "media_type", "turns")
NO_EVENTS: Mapping[str, Any] = {"count": 0, "first": None, "last": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One conversation, from its start to the CRMs; by default one of which nothing is known.

    `session` is the virtual-agent session that we started, if any; `events` how many were merged, the first and the
    last; `deliveries` one for each target, by its name; `drift` what reconciliations found missing or different.
    """

    conversation_id: str = ""
    session: Mapping[str, Any] | None = None
    events: Mapping[str, Any] = field(default_factory=lambda: dict(NO_EVENTS))
    closure: Mapping[str, Any] = field(default_factory=lambda: dict.fromkeys(CLOSURE))
    deliveries: Sequence[Mapping[str, Any]] = ()
    drift: Sequence[Mapping[str, Any]] = ()

    def as_record(self) -> dict[str, JSON]:
        """Return the entry as JSON values."""
        return {name: _as_json(value) for name, value in asdict(self).items()}

    def as_line(self) -> str:
        """Return the entry as one line of NDJSON, without its end."""
        return json.dumps(self.as_record(), separators=(",", ":"), ensure_ascii=False)


def find(connection: Connection, conversation_id: str) -> Entry | None:
    """Return the entry of one conversation, None for one that nobody knows."""
    c = _CLOSURES.c
    rows = connection.execute(_columns().where(c.conversation_id == conversation_id)).all()
    return next(iter(_entries(connection, rows)), None)


def walk(database: Database, ended: Window) -> Iterator[Entry]:
    """Yield the entries of all conversations that ended in a window, by their end, then their id.

    A window that is open at both ends holds those that never ended, too, behind the others. Each page is read in a
    transaction of its own, so that an audit of years holds nobody up.
    """
    c = _CLOSURES.c
    by_end = _columns().where(c.ended_at.is_not(None), *ended.holds(c.ended_at)).order_by(c.ended_at, c.conversation_id)
    last = yield from _pages(database, by_end, None)
    while last is not None:
        place = tuple_(literal(last.closure["ended_at"], c.ended_at.type), _id(last))
        last = yield from _pages(database, by_end, tuple_(c.ended_at, c.conversation_id) > place)
    if ended != ANY_TIME:
        return
    endless = _columns().where(c.ended_at.is_(None)).order_by(c.conversation_id)
    last = yield from _pages(database, endless, None)
    while last is not None:
        last = yield from _pages(database, endless, c.conversation_id > _id(last))


def _pages(
    database: Database, query: Select[Any], behind: ColumnElement[bool] | None
) -> Generator[Entry, None, Entry | None]:
    """Yield one page of a query, and return its last entry; None when there is no further page."""
    with database.read() as connection:
        found = connection.execute((query if behind is None else query.where(behind)).limit(PAGE)).all()
        entries = _entries(connection, found)
    yield from entries
    return entries[-1] if len(entries) == PAGE else None


def _id(entry: Entry) -> ColumnElement[str]:
    return literal(entry.conversation_id, _CLOSURES.c.conversation_id.type)


def _columns() -> Select[Any]:
    return select(_CLOSURES.c.conversation_id, *(_CLOSURES.c[name] for name in CLOSURE))


def _entries(connection: Connection, closures: Sequence[Row[Any]]) -> list[Entry]:
    ids = [row.conversation_id for row in closures]
    sessions, events = _sessions(connection, ids), _events(connection, ids)
    deliveries, drift = _deliveries(connection, ids), _drift(connection, ids)
    return [
        Entry(
            conversation_id=row.conversation_id,
            session=sessions.get(row.conversation_id),
            events=events.get(row.conversation_id, NO_EVENTS),
            closure={name: row._mapping[name] for name in CLOSURE},
            deliveries=deliveries[row.conversation_id],
            drift=drift[row.conversation_id],
        )
        for row in closures
    ]


def _sessions(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    s = _SESSIONS.c
    return {
        row.conversation_id: {
            **{name: row._mapping[name] for name in _SESSION},
            "evaluation": None
            if row.intent_confidence is None
            else {name: row._mapping[name] for name in ("intent_name", "intent_confidence", "sentiment_score")},
            "routing": {"escalated": row.escalated, "queue_id": row.queue_id, "reason": row.reason},
        }
        for row in connection.execute(select(_SESSIONS).where(s.conversation_id.in_(ids)))
    }


def _events(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how many events of each conversation were merged, and the first and the last that came."""
    e = _EVENTS.c
    came = (e.received_at, e.event_id)
    ranked = (
        select(
            e.conversation_id, e.event_id.label("id"), e.kind, e.source, e.occurred_at, e.received_at,
            func.count().over(partition_by=e.conversation_id).label("many"),
            func.row_number().over(partition_by=e.conversation_id, order_by=came).label("place"),
        )
        .where(e.conversation_id.in_(ids), e.status == "accepted")
        .subquery()
    )  # fmt: skip
    query = select(ranked).where((ranked.c.place == 1) | (ranked.c.place == ranked.c.many)).order_by(ranked.c.place)
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(query):
        told = {name: row._mapping[name] for name in ("id", "kind", "source", "occurred_at", "received_at")}
        first = found[row.conversation_id]["first"] if row.conversation_id in found else told
        found[row.conversation_id] = {"count": row.many, "first": first, "last": told}
    return found


def _deliveries(connection: Connection, ids: Sequence[str]) -> defaultdict[str, list[dict[str, Any]]]:
    """Return each target's delivery, with the number of its attempts, when the first began, and what the last did."""
    a, d, t = _ATTEMPTS.c, _DELIVERIES.c, _TARGETS.c
    ranked = (
        select(
            a.delivery_id, a.outcome, a.code, a.finished_at,
            func.count().over(partition_by=a.delivery_id).label("many"),
            func.min(a.started_at).over(partition_by=a.delivery_id).label("first_at"),
            func.row_number().over(partition_by=a.delivery_id, order_by=a.id.desc()).label("place"),
        )
        .join_from(_ATTEMPTS, _DELIVERIES, a.delivery_id == d.id)
        .where(d.conversation_id.in_(ids))
        .subquery()
    )  # fmt: skip
    last = ranked.c
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(
        select(
            d.conversation_id, t.name.label("target"), d.state, d.desired_version, d.delivered_version,
            d.delivered_at, func.coalesce(last.many, 0).label("attempts"), last.first_at.label("first_attempt_at"),
            last.finished_at.label("last_attempt_at"), last.outcome.label("last_outcome"),
            last.code.label("last_code"), d.last_error, d.crm_record_id, d.crm_url,
        )
        .join_from(_DELIVERIES, _TARGETS, d.target_id == t.id)
        .outerjoin(ranked, (last.delivery_id == d.id) & (last.place == 1))
        .where(d.conversation_id.in_(ids))
        .order_by(t.name)
    ):  # fmt: skip
        told = dict(row._mapping)
        found[told.pop("conversation_id")].append(told)
    return found


def _drift(connection: Connection, ids: Sequence[str]) -> defaultdict[str, list[dict[str, Any]]]:
    d = _DRIFT.c
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(
        select(d.conversation_id, d.what, d.fields, d.reconciliation_id, d.event_id, d.noticed_at)
        .where(d.conversation_id.in_(ids))
        .order_by(d.id)
    ):
        told = dict(row._mapping)
        found[told.pop("conversation_id")].append(told)
    return found


def _as_json(value: Any) -> JSON:
    match value:
        case datetime():
            return clock.to_text(value)
        case dict():
            return {name: _as_json(inner) for name, inner in value.items()}
        case list():
            return [_as_json(inner) for inner in value]
    return cast(JSON, value)
