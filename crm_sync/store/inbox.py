"""The one door in: an event, the closure it changes, and what is thereby owed, in one transaction.

The webhook, a replay and a reconciliation all come through `Inbox.record`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from crm_sync import clock
from crm_sync.closure import FIELDS, Closure, Event, EventStatus, Facts, derive, merge
from crm_sync.errors import Unavailable
from crm_sync.resolution import ResolutionMap
from crm_sync.store import bulk, debts, labels
from crm_sync.store.debts import Raised
from crm_sync.store.engine import Database
from crm_sync.store.tables import ClosureRow, EventRow, PersonRow

LONGEST_SECONDS = 12.0
"""An intake that takes longer is rolled back: incremental readers count on none that commits after 15 s."""

_EVENTS, _CLOSURES, _PEOPLE = (row.metadata.tables[row.__tablename__] for row in (EventRow, ClosureRow, PersonRow))
_EVENT_COLUMNS = (
    "event_id", "dedupe_key", "status", "reason", "kind", "source", "conversation_id", "organization_id",
    "occurred_at", "received_at", "trace_id", "body",
)  # fmt: skip
_CLOSURE_COLUMNS = (*FIELDS, "facts", "digest")
# Made once: SQLAlchemy takes longer to build them with so many ids than the database to answer.
_NAMED = _CLOSURES.c.conversation_id.in_(bindparam("conversations", expanding=True))
_FIND = select(_CLOSURES.c.conversation_id).where(_NAMED)
_LOCK = (
    select(_CLOSURES.c.conversation_id, _CLOSURES.c.facts, _CLOSURES.c.version)
    .where(_NAMED)
    .order_by(_CLOSURES.c.conversation_id)
    .with_for_update()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of one event, in the words of the webhook's answer."""

    event_id: str
    status: EventStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A closure as it is stored, locked for us."""

    facts: Facts
    version: int


class Inbox:
    """Where events are recorded. Holds no state but the database and the resolution map."""

    def __init__(self, database: Database, resolution_map: ResolutionMap) -> None:
        self._database = database
        self._resolution_map = resolution_map

    def record(self, events: Sequence[Event], *, again: bool = False) -> list[Recorded]:
        """Store these events in one transaction, committed when this returns; one answer for each, in their order.

        A duplicate is merged too. That changes nothing, unless it came in a shape that tells more: the closure must
        not depend on which of the two was first. With `again` closures are derived anew although nothing was added,
        for a resolution map that has changed. Raises `Unavailable` when the database cannot commit; then nothing is
        stored.
        """
        started = clock.monotonic()
        with self._database.write() as connection:
            answers = self.record_in(connection, events, again=again)
            if clock.monotonic() - started > LONGEST_SECONDS:
                raise Unavailable("The database was too slow to store the event.")
        return answers

    def record_in(self, connection: Connection, events: Sequence[Event], *, again: bool = False) -> list[Recorded]:
        """Do the same in a transaction of the caller, who may also undo it to see what would have come of it."""
        fresh = _insert_events(connection, events)
        answers = _answers(events, fresh)
        merged = [event for event in events if event.status is EventStatus.ACCEPTED]
        if merged:
            self._merge(connection, merged, again=again)
        return answers

    def derive_again(self, connection: Connection, conversation_ids: Sequence[str]) -> set[str]:
        """Derive these closures anew from their facts, in a transaction of the caller, and return those that changed.

        What they are owed to is owed anew, as after an event.
        """
        known = _lock(connection, sorted(conversation_ids))
        raised = self._update(connection, known, defaultdict(dict), self._known_map(connection), again=True)
        if raised:
            debts.owe(connection, [raised[c] for c in sorted(raised)])
        return set(raised)

    def _known_map(self, connection: Connection) -> ResolutionMap:
        """Return the map with the wrap-up codes that are mapped by name, as far as their names are known by now.

        Asked within the transaction: all processes must derive alike, whenever each of them was started.
        """
        if not self._resolution_map.wrapup_names:
            return self._resolution_map
        return self._resolution_map.with_names(labels.names(connection, "wrapup_code"))

    def _merge(self, connection: Connection, events: Sequence[Event], *, again: bool) -> None:
        added: dict[str, Facts] = defaultdict(dict)
        for event in events:
            if event.conversation_id is not None:
                added[event.conversation_id] = merge(added[event.conversation_id], event.facts)
        # In one order everywhere, or two groups that touch the same conversations would wait for each other. And new
        # rows before locks: locking a row that does not exist locks nothing, and who waits to insert one while it holds
        # locks may wait for somebody who wants those.
        conversations = sorted(added)
        there, words = _find(connection, conversations), self._known_map(connection)
        raised = self._insert(connection, {c: added[c] for c in conversations if c not in there}, words)
        known = _lock(connection, [c for c in conversations if c not in raised])
        raised |= self._update(connection, known, added, words, again=again)
        if raised:
            debts.owe(connection, [raised[c] for c in conversations if c in raised])
        _insert_people(connection, events)

    def _insert(self, connection: Connection, added: Mapping[str, Facts], words: ResolutionMap) -> dict[str, Raised]:
        """Insert the closures of conversations that nobody knows yet, and return those that were ours to insert."""
        if not added:
            return {}
        records = [_as_record(c, facts, words) for c, facts in added.items()]
        source, parameters = bulk.rows(connection, _CLOSURES, _CLOSURE_COLUMNS, records)
        listed = ", ".join(_CLOSURE_COLUMNS)
        now = bulk.now_sql(connection)
        inserted = connection.execute(
            text(f"""
                INSERT INTO closures ({listed}, version, created_at, updated_at)
                SELECT {listed}, {bulk.now_ms_sql(connection)}, {now}, {now} FROM {source} WHERE true
                ORDER BY r.conversation_id ON CONFLICT DO NOTHING RETURNING conversation_id, version
            """),
            parameters,
        )
        columns = {record["conversation_id"]: record for record in records}
        return {c: Raised.from_columns(columns[c], version=version) for c, version in inserted}

    def _update(
        self,
        connection: Connection,
        known: Mapping[str, _Known],
        added: Mapping[str, Facts],
        words: ResolutionMap,
        *,
        again: bool,
    ) -> dict[str, Raised]:
        """Merge what is new into the closures we hold, and return those that readers will see changed.

        The version rises only then, and to the database's clock at least: after a restore from a backup it still lies
        above all that a CRM has seen.
        """
        merged = {c: merge(held.facts, added[c]) for c, held in known.items()}
        records = [_as_record(c, facts, words) for c, facts in merged.items() if again or facts != known[c].facts]
        if not records:
            return {}
        source, parameters = bulk.rows(connection, _CLOSURES, _CLOSURE_COLUMNS, records)
        columns = ", ".join(f"{name} = r.{name}" for name in _CLOSURE_COLUMNS if name != "conversation_id")
        greatest, changed = bulk.greatest_sql(connection), {record["conversation_id"]: record for record in records}
        same = "closures.digest = r.digest"
        updated = connection.execute(
            text(f"""
                UPDATE closures SET {columns},
                    version = CASE WHEN {same} THEN closures.version
                        ELSE {greatest}(closures.version + 1, {bulk.now_ms_sql(connection)}) END,
                    updated_at = CASE WHEN {same} THEN closures.updated_at ELSE {bulk.now_sql(connection)} END
                FROM {source} WHERE closures.conversation_id = r.conversation_id
                RETURNING closures.conversation_id, closures.version
            """),
            parameters,
        )
        return {
            c: Raised.from_columns(changed[c], version=version) for c, version in updated if version > known[c].version
        }


def _as_record(conversation_id: str, facts: Facts, words: ResolutionMap) -> dict[str, Any]:
    closure = derive(conversation_id, facts, words)
    digest = hashlib.sha256(json.dumps(closure.as_record(), sort_keys=True).encode()).hexdigest()
    return _as_columns(closure) | {"facts": facts, "digest": digest}


def _insert_events(connection: Connection, events: Sequence[Event]) -> set[str]:
    """Insert what is new and return its ids; the unique key decides, not a query before the insert."""
    by_id = {event.event_id: event for event in reversed(events)}
    # SQLite's rows travel as JSON, which not every body survives: those few are written on their own.
    is_sqlite = connection.dialect.name != "postgresql"
    odd = {key: event.body for key, event in by_id.items() if is_sqlite and not _is_text(event.body)}
    records = [_event_row(by_id[key]) | ({"body": b""} if key in odd else {}) for key in sorted(by_id)]
    source, parameters = bulk.rows(connection, _EVENTS, _EVENT_COLUMNS, records)
    listed = ", ".join(_EVENT_COLUMNS)
    inserted = connection.execute(
        text(
            f"INSERT INTO events ({listed}) SELECT {listed} FROM {source} WHERE true"
            " ON CONFLICT DO NOTHING RETURNING event_id"
        ),
        parameters,
    )
    fresh = set(inserted.scalars())
    for key in fresh & odd.keys():
        connection.execute(_EVENTS.update().where(_EVENTS.c.event_id == key).values(body=odd[key]))
    return fresh


def _event_row(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "dedupe_key": event.dedupe_key,
        "status": str(event.status),
        "reason": event.reason,
        "kind": event.kind,
        "source": event.source,
        "conversation_id": event.conversation_id,
        "organization_id": event.organization_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "trace_id": event.trace_id,
        "body": event.body,
    }


def _is_text(body: bytes) -> bool:
    """Tell whether a body survives as text in a JSON document."""
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _answers(events: Sequence[Event], fresh: set[str]) -> list[Recorded]:
    answered: set[str] = set()
    answers = []
    for event in events:
        is_first = event.event_id in fresh and event.event_id not in answered
        answered.add(event.event_id)
        status = event.status if is_first else EventStatus.DUPLICATE
        answers.append(Recorded(event_id=event.event_id, status=status))
    return answers


def _find(connection: Connection, conversations: Sequence[str]) -> set[str]:
    """Return those that are stored already. It spares work only: what another process inserts meanwhile, is met."""
    return set(connection.scalars(_FIND, {"conversations": conversations}))


def _lock(connection: Connection, conversations: Sequence[str]) -> dict[str, _Known]:
    """Lock the closures that exist, and return what they hold."""
    if not conversations:
        return {}
    rows = connection.execute(_LOCK, {"conversations": conversations})
    return {row.conversation_id: _Known(facts=row.facts, version=row.version) for row in rows}


def _as_columns(closure: Closure) -> dict[str, Any]:
    columns: dict[str, Any] = {name: getattr(closure, name) for name in FIELDS}
    for name, value in columns.items():
        if isinstance(value, tuple):
            columns[name] = list(value)
    columns["attributes"] = dict(closure.attributes)
    columns["resolution"] = str(closure.resolution)
    return columns


def _insert_people(connection: Connection, events: Sequence[Event]) -> None:
    people = sorted({(p.kind, p.value, e.conversation_id) for e in events for p in e.people if e.conversation_id})
    if not people:
        return
    records = [{"kind": kind, "value": value, "conversation_id": c} for kind, value, c in people]
    source, parameters = bulk.rows(connection, _PEOPLE, ("kind", "value", "conversation_id"), records)
    connection.execute(
        text(f"INSERT INTO conversation_people (kind, value, conversation_id) SELECT kind, value, conversation_id"
             f" FROM {source} WHERE true ON CONFLICT DO NOTHING"),
        parameters,
    )  # fmt: skip
