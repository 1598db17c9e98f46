"""The tables, typed. The columns of `closures` are the fields of `Closure`, under the same names."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

from crm_sync import clock

ID_LENGTH = 200
WORD_LENGTH = 200
ADDRESS_LENGTH = 1000
# A PostgreSQL index entry holds 2,700 bytes, and a character may take four.
KEY_LENGTH = 640
PERSON_LENGTH = 400


class UTCDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC: `timestamptz` on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive instant, which each engine would read in its own way."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("an instant without a time zone cannot be stored")
        return value.astimezone(clock.UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the instant, aware and in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=clock.UTC) if value.tzinfo is None else value.astimezone(clock.UTC)


JSON_COLUMN: TypeEngine[Any] = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite numbers rows by itself only where the type is spelled INTEGER.
NUMBER = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The metadata of all tables; constraints are named by convention, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: UTCDateTime(),
        int: BigInteger(),
        dict[str, Any]: JSON_COLUMN,
        list[str]: JSON_COLUMN,
        # Order by bytes, on both engines alike, since cursors depend on it.
        str: String().with_variant(String(collation="C"), "postgresql"),
    }


def _id_text(length: int = ID_LENGTH) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _one_of(column: str, *words: str) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class EventRow(Base):
    """A notification as it arrived. Never changed, but for its status when a replay has understood it."""

    __tablename__ = "events"
    __table_args__ = (
        _one_of("status", "accepted", "quarantined", "ignored"),
        Index("ix_events_quarantined", "received_at", postgresql_where=text("status = 'quarantined'"),
              sqlite_where=text("status = 'quarantined'")),
    )  # fmt: skip

    event_id: Mapped[str] = mapped_column(_id_text(36), primary_key=True)
    dedupe_key: Mapped[str] = mapped_column(_id_text(KEY_LENGTH), unique=True)
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(WORD_LENGTH))
    source: Mapped[str] = mapped_column(String(16))
    conversation_id: Mapped[str | None] = mapped_column(_id_text(), index=True)
    organization_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    occurred_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    trace_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    body: Mapped[bytes] = mapped_column(LargeBinary)


class ClosureRow(Base):
    """A conversation: its facts, and the closure derived from them."""

    __tablename__ = "closures"
    __table_args__ = (
        _one_of("resolution", "resolved", "unresolved", "escalated", "transferred", "abandoned", "unknown"),
        Index("ix_closures_updated", "updated_at", "conversation_id"),
        Index("ix_closures_ended", "ended_at", "conversation_id"),
    )

    conversation_id: Mapped[str] = mapped_column(_id_text(), primary_key=True)
    organization_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    closed: Mapped[bool]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    customer_left_at: Mapped[datetime | None]
    awaiting_until: Mapped[datetime | None]
    resolution: Mapped[str] = mapped_column(String(16))
    resolution_source: Mapped[str | None] = mapped_column(String(32))
    resolution_reason: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    resolution_final: Mapped[bool]
    media_type: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    message_type: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    direction: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    provider: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    disconnect_type: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    customer_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    customer_address: Mapped[str | None] = mapped_column(String(ADDRESS_LENGTH))
    our_address: Mapped[str | None] = mapped_column(String(ADDRESS_LENGTH))
    wrapup_code: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    wrapup_notes: Mapped[str | None] = mapped_column(Text)
    agent_took_part: Mapped[bool]
    duration_ms: Mapped[int | None]
    talk_ms: Mapped[int | None]
    held_ms: Mapped[int | None]
    acw_ms: Mapped[int | None]
    agent_ids: Mapped[list[str]]
    queue_ids: Mapped[list[str]]
    flow_ids: Mapped[list[str]]
    bot_ids: Mapped[list[str]]
    division_ids: Mapped[list[str]]
    external_contact_ids: Mapped[list[str]]
    external_organization_ids: Mapped[list[str]]
    attributes: Mapped[dict[str, Any]]
    text_altered: Mapped[bool]

    facts: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PersonRow(Base):
    """By which phone, e-mail, contact or address a conversation is found, and its people forgotten."""

    __tablename__ = "conversation_people"
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[str] = mapped_column(_id_text(PERSON_LENGTH), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(_id_text(), primary_key=True, index=True)


class TargetRow(Base):
    """A CRM that closures are owed to. Its id never changes; how to reach it stands in each host's own settings.

    `owed_when` chooses the conversations that it is owed; `named_until` is until when a process's settings have named
    it. `failures`, `trips` and `open_until` are its breaker, `tat` its rate (see `pace`): all workers share them.
    """

    __tablename__ = "targets"
    __table_args__ = (_one_of("state", "live", "paused", "retired"),)

    id: Mapped[int] = mapped_column(NUMBER, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(_id_text(63), unique=True)
    adapter: Mapped[str] = mapped_column(String(63))
    state: Mapped[str] = mapped_column(String(16))
    paused_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None] = mapped_column(Text)
    not_before: Mapped[datetime | None]
    owed_when: Mapped[dict[str, Any] | None]
    named_until: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    trips: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    open_until: Mapped[datetime | None]
    tat: Mapped[datetime | None]
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    """What one target is owed of one conversation, and what it has been told.

    `push_again` asks for one more push of the newest version, whatever its hash; `redelivery` counts those. What is
    owed `in_background` (a backfill, a redelivery) is pushed only while nothing else is due.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        _one_of("state", "pending", "delivered", "dead"),
        UniqueConstraint("target_id", "conversation_id"),
        Index("ix_deliveries_claim", "target_id", "in_background", "due_at",
              postgresql_where=text("state = 'pending'"), sqlite_where=text("state = 'pending'")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(NUMBER, Identity(), primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("targets.id"))
    conversation_id: Mapped[str] = mapped_column(ForeignKey("closures.conversation_id"), type_=_id_text(), index=True)
    state: Mapped[str] = mapped_column(String(16))
    desired_version: Mapped[int]
    delivered_version: Mapped[int | None]
    payload_hash: Mapped[str | None] = mapped_column(String(64))
    due_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    claim_token: Mapped[str | None] = mapped_column(String(32))
    attempts: Mapped[int] = mapped_column(Integer)
    lost_leases: Mapped[int] = mapped_column(Integer)
    push_again: Mapped[bool]
    redelivery: Mapped[int] = mapped_column(Integer)
    in_background: Mapped[bool] = mapped_column(server_default=false())
    last_error: Mapped[str | None] = mapped_column(Text)
    crm_record_id: Mapped[str | None] = mapped_column(String(ADDRESS_LENGTH))
    crm_url: Mapped[str | None] = mapped_column(Text)
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class AttemptRow(Base):
    """The audit of a push: codes and redacted sentences, never a body."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (_one_of("outcome", "created", "updated", "unchanged", "skipped", "failed"),)

    id: Mapped[int] = mapped_column(NUMBER, Identity(), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), index=True)
    version: Mapped[int]
    push_key: Mapped[str] = mapped_column(String(400))
    outcome: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str | None] = mapped_column(String(16))
    code: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    message: Mapped[str | None] = mapped_column(Text)
    vendor_request_id: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]


class RegistrationRow(Base):
    """What we have told Genesys Cloud about where we are; `fingerprint` covers url, events and secret."""

    __tablename__ = "registrations"
    __table_args__ = (_one_of("state", "registered", "failed"),)

    name: Mapped[str] = mapped_column(String(WORD_LENGTH), primary_key=True)
    remote_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    url: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime]


class LeaseRow(Base):
    """Work that one process at a time may do, and until when."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(WORD_LENGTH), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    until: Mapped[datetime]


class AgentSessionRow(Base):
    """A virtual-agent session that we were asked to start, whatever came of it."""

    __tablename__ = "agent_sessions"
    __table_args__ = (_one_of("state", "starting", "started", "refused", "failed", "uncertain"),)

    id: Mapped[str] = mapped_column(_id_text(36), primary_key=True)
    idempotency_key: Mapped[str | None] = mapped_column(_id_text(), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    bot_id: Mapped[str] = mapped_column(String(ID_LENGTH), index=True)
    customer_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    media_type: Mapped[str] = mapped_column(String(WORD_LENGTH))
    intent_name: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    intent_confidence: Mapped[float | None]
    sentiment_score: Mapped[float | None]
    turns: Mapped[int] = mapped_column(Integer)
    escalated: Mapped[bool]
    queue_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    conversation_id: Mapped[str | None] = mapped_column(_id_text(), unique=True)
    requested_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    # Only where a bot leads the session turn by turn. `handover` is what people need, kept until the bot has finished.
    bot_session_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    bot_state: Mapped[str | None] = mapped_column(String(16))
    turn_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    turn_at: Mapped[datetime | None]
    handover: Mapped[dict[str, Any] | None]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(String(WORD_LENGTH))
    resolution: Mapped[str | None] = mapped_column(String(16))


class TokenRow(Base):
    """A bearer token of the API: only its digest is kept."""

    __tablename__ = "tokens"
    __table_args__ = (_one_of("role", "reader", "operator"),)

    id: Mapped[int] = mapped_column(NUMBER, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(WORD_LENGTH))
    role: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ReconciliationRow(Base):
    """A run through analytics: its parts as they were planned, and how far it has come."""

    __tablename__ = "reconciliations"
    __table_args__ = (_one_of("state", "running", "done"),)

    id: Mapped[int] = mapped_column(NUMBER, Identity(), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    since: Mapped[datetime]
    until: Mapped[datetime]
    parts: Mapped[list[Any]] = mapped_column(JSON_COLUMN)
    part: Mapped[int] = mapped_column(Integer)
    job_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    next_cursor: Mapped[str | None] = mapped_column(Text)
    pages: Mapped[int] = mapped_column(Integer)
    conversations: Mapped[int] = mapped_column(Integer)
    missed: Mapped[int] = mapped_column(Integer)
    different: Mapped[int] = mapped_column(Integer)
    unreadable: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class DriftRow(Base):
    """One conversation that a reconciliation found missing or different, and mended."""

    __tablename__ = "drift"
    __table_args__ = (
        UniqueConstraint("reconciliation_id", "conversation_id"),
        _one_of("what", "missed", "different"),
    )

    id: Mapped[int] = mapped_column(NUMBER, Identity(), primary_key=True)
    reconciliation_id: Mapped[int] = mapped_column(ForeignKey("reconciliations.id", ondelete="CASCADE"))
    conversation_id: Mapped[str] = mapped_column(_id_text(), index=True)
    what: Mapped[str] = mapped_column(String(16))
    fields: Mapped[dict[str, Any]] = mapped_column(JSON_COLUMN)
    ended_at: Mapped[datetime | None]
    event_id: Mapped[str] = mapped_column(String(64))
    noticed_at: Mapped[datetime] = mapped_column(index=True)


class LabelRow(Base):
    """What Genesys Cloud calls one of its things."""

    __tablename__ = "labels"
    __table_args__ = (_one_of("kind", "wrapup_code"),)

    kind: Mapped[str] = mapped_column(_id_text(16), primary_key=True)
    id: Mapped[str] = mapped_column(_id_text(), primary_key=True)
    name: Mapped[str] = mapped_column(String(ADDRESS_LENGTH))
    updated_at: Mapped[datetime]


class EnrichmentRow(Base):
    """A conversation that analytics was asked for, and did not know yet."""

    __tablename__ = "enrichments"

    conversation_id: Mapped[str] = mapped_column(_id_text(), primary_key=True)
    tries: Mapped[int] = mapped_column(Integer)
    asked_at: Mapped[datetime]
