"""What the core and an adapter promise each other: the values that pass between them, and the protocol.

The core owns order, coalescing, retries, rate, the field mapping and the memory of what was delivered. An adapter owns
how a record looks on the wire, how to authenticate, and what each answer of its vendor means. It never retries, sleeps,
reads the environment, or knows that our database exists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

from crm_sync.closure import JSON
from crm_sync.errors import Fault

API_VERSION = 1
"""The version of this contract. It rises when an adapter written for the old one would no longer work."""


class Outcome(StrEnum):
    """What became of one push. `skipped`: the CRM holds something newer, so the debt is paid."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an adapter can do, per instance because its settings may change it.

    `idempotency`: by our key, by a header that the vendor forgets after a while, by a reader who keeps the highest
    version of what was appended, or not at all. `batch_atomic`: one refused record refuses its whole batch, see `push`.
    """

    native_upsert: bool
    optimistic_lock: bool
    idempotency: Literal["key", "header_ttl", "reader", "none"]
    max_batch: int
    batch_atomic: bool
    ordered_per_key: bool
    dry_run: Literal["server", "local"]
    person_lookup: frozenset[Literal["phone", "email", "external_id"]] = frozenset()
    can_link: bool = False
    can_delete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedField:
    """A CRM field that the target's mapping writes: the closure field it comes from, and the values it is limited to.

    `source` is None for a constant. `choices` are the values a mapping can write, or empty when it passes values on.
    """

    name: str
    source: str | None = None
    choices: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonHint:
    """By what the customer can be found; our own numbers are never among it. `phone` is in E.164."""

    external_id: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A person found in the CRM: record, kind of object, by which hint, and how sure (0 to 1)."""

    record_id: str
    object_name: str
    matched_by: Literal["phone", "email", "external_id"]
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that `check` noticed: what, where, and what to do about it. A fatal one keeps pushes from working."""

    what: str
    where: str
    remedy: str
    is_fatal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What the core hands over for one conversation, the mapping already applied.

    `conversation_id` is the record key and never changes. `push_key` names this push and stays the same over its
    attempts. `create_fields` travel only while no record is known. `closed` is false when the conversation reopened.
    """

    conversation_id: str
    push_key: str
    version: int
    occurred_at: datetime
    closed: bool
    fields: Mapping[str, JSON] = field(repr=False)
    create_fields: Mapping[str, JSON] = field(default_factory=dict, repr=False)
    person: PersonHint | None = field(default=None, repr=False)
    known_id: str | None = None

    @property
    def due_fields(self) -> Mapping[str, JSON]:
        """What is to be written now: the `create_fields` too, while no record is known."""
        return self.fields if self.known_id else {**self.create_fields, **self.fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A push as the adapter will send it: `record` holds the CRM's own names and values, ready for its wire."""

    conversation_id: str
    push_key: str
    version: int
    record: Mapping[str, JSON] = field(repr=False)
    known_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one entry of a batch. `fault` is set exactly when the outcome is failed."""

    push_key: str
    outcome: Outcome
    record_id: str | None = None
    url: str | None = None
    fault: Fault | None = None


class Adapter(Protocol):
    """One CRM, as the core sees it. An instance is used by several threads at once."""

    api_version: ClassVar[int]
    name: ClassVar[str]
    settings: ClassVar[Mapping[str, JSON]]
    """JSON Schema of the options; secrets are marked `writeOnly`."""

    @classmethod
    def from_options(
        cls, options: Mapping[str, JSON], *, fields: Sequence[MappedField], worker_deadline_seconds: float
    ) -> Self:
        """Return an adapter, without talking to the CRM; raises SettingsError that names every fault.

        `fields` is what the mapping writes, empty when nothing is known of it. No single push may take longer than the
        deadline.
        """
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this instance can do."""
        ...

    def check(self) -> list[Finding]:
        """Return what is missing or wrong in the CRM, each with its remedy. Writes nothing."""
        ...

    def find_person(self, hint: PersonHint) -> list[Match]:
        """Return whoever may be meant; the core decides."""
        ...

    def prepare(self, push: Push) -> Prepared:
        """Return the push as it will be sent. Pure: the same push gives the same bytes, and nothing is asked."""
        ...

    def render(self, batch: Sequence[Prepared]) -> str:
        """Return in words exactly what would be sent, secrets hidden: for previews, dry runs and tests."""
        ...

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Send a batch; return one receipt per entry, in the order of the entries.

        Raises AdapterFailure only when nothing can be said of any record: no connection, no token, the whole call
        throttled. GONE in a receipt means the record; GONE raised means the CRM's whole endpoint. An entry that may
        have arrived without our knowing is AMBIGUOUS. When an atomic batch holds a record that the CRM refuses, every
        receipt fails with that same DATA fault and nothing was stored: the core halves the batch until the culprit
        stands alone.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files; harmless when repeated."""
        ...


@runtime_checkable
class Deleting(Protocol):
    """An adapter that says `can_delete`."""

    def delete(self, record_id: str) -> None:
        """Erase a record; harmless when it is gone already. Raises AdapterFailure."""
        ...


@runtime_checkable
class Linking(Protocol):
    """An adapter that says `can_link`."""

    def link(self, record_id: str, match: Match) -> None:
        """Tie a record to a person; harmless when repeated. Raises AdapterFailure."""
        ...
