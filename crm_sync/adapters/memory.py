"""A CRM in memory: it keeps every promise of the contract, and fails exactly as a test tells it to."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from pydantic import PositiveInt

from crm_sync.adapters.contract import (
    API_VERSION,
    Capabilities,
    Finding,
    MappedField,
    Match,
    Outcome,
    PersonHint,
    Prepared,
    Push,
    Receipt,
)
from crm_sync.adapters.values import Options, clean_record, parse, to_json
from crm_sync.closure import JSON
from crm_sync.errors import Fault, failure

_CAPABILITIES = Capabilities(
    native_upsert=True,
    optimistic_lock=True,
    idempotency="key",
    max_batch=100,
    batch_atomic=False,
    ordered_per_key=True,
    dry_run="local",
    person_lookup=frozenset({"phone", "email", "external_id"}),
    can_delete=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A record as this CRM holds it."""

    version: int
    fields: Mapping[str, JSON] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One write that took place; a repetition that changed nothing is none."""

    conversation_id: str
    push_key: str
    version: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """How one call of `push` is to fail: before anything is stored, or after everything is, its answer being lost."""

    fault: Fault
    is_stored: bool = False


class MemoryOptions(Options):
    """The settings of the adapter `memory`."""

    max_batch: PositiveInt = _CAPABILITIES.max_batch


class MemoryAdapter:
    """Keeps `records` by conversation and every `effect` in order.

    `script` holds how the coming calls fail, `refused` which conversations are refused and why, `people` who is known.
    """

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str] = "memory"
    settings: ClassVar[Mapping[str, JSON]] = MemoryOptions.model_json_schema()

    def __init__(self, *, capabilities: Capabilities = _CAPABILITIES) -> None:
        self.capabilities = capabilities
        self.records: dict[str, Stored] = {}
        self.effects: list[Effect] = []
        self.script: deque[Failing] = deque()
        self.refused: dict[str, Fault] = {}
        self.people: list[tuple[PersonHint, Match]] = []
        self._lock = threading.Lock()

    @classmethod
    def from_options(
        cls, options: Mapping[str, JSON], *, fields: Sequence[MappedField], worker_deadline_seconds: float
    ) -> Self:
        """Return an empty one."""
        chosen = parse(MemoryOptions, options)
        return cls(capabilities=replace(_CAPABILITIES, max_batch=chosen.max_batch))

    def check(self) -> list[Finding]:
        """Return nothing: there is nothing that could be missing."""
        return []

    def find_person(self, hint: PersonHint) -> list[Match]:
        """Return the matches of the people that share a value with the hint."""
        return [match for known, match in self.people if _shares(known, hint)]

    def prepare(self, push: Push) -> Prepared:
        """Return the fields, with those for a new record while none is known."""
        return Prepared(
            conversation_id=push.conversation_id,
            push_key=push.push_key,
            version=push.version,
            record=clean_record(push.due_fields),
            known_id=push.known_id,
        )

    def render(self, batch: Sequence[Prepared]) -> str:
        """Return a line of JSON per entry."""
        return "\n".join(
            to_json({"conversation_id": entry.conversation_id, "version": entry.version, **entry.record})
            for entry in batch
        )

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Store what is not older than what is held, unless the script says otherwise."""
        with self._lock:
            failing = self.script.popleft() if self.script else None
            if failing and not failing.is_stored:
                raise failure(failing.fault)
            receipts = [self._store(entry) for entry in batch]
        if failing:
            raise failure(failing.fault)
        return receipts

    def delete(self, record_id: str) -> None:
        """Forget a record."""
        with self._lock:
            self.records.pop(record_id, None)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _store(self, entry: Prepared) -> Receipt:
        key = entry.conversation_id
        if key in self.refused:
            return Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=self.refused[key])
        outcome, fields = self._decide(entry, self.records.get(key))
        if fields is not None:
            self.records[key] = Stored(version=entry.version, fields=fields)
            self.effects.append(
                Effect(conversation_id=key, push_key=entry.push_key, version=entry.version, outcome=outcome)
            )
        return Receipt(push_key=entry.push_key, outcome=outcome, record_id=key)

    def _decide(self, entry: Prepared, held: Stored | None) -> tuple[Outcome, dict[str, JSON] | None]:
        """Return the outcome, and what the record is to hold if it changes. A field that is not sent stays."""
        if held is None:
            return Outcome.CREATED, dict(entry.record)
        if held.version > entry.version:
            return Outcome.SKIPPED, None
        fields = {**held.fields, **entry.record}
        if held == Stored(version=entry.version, fields=fields):
            return Outcome.UNCHANGED, None
        return Outcome.UPDATED, fields


def _shares(known: PersonHint, hint: PersonHint) -> bool:
    pairs = [(known.external_id, hint.external_id), (known.email, hint.email), (known.phone, hint.phone)]
    return any(mine is not None and mine == theirs for mine, theirs in pairs)
