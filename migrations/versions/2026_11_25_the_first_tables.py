"""The first tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "2026_11_25_first"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id_text(length: int) -> sa.String:
    return sa.String(length=length).with_variant(sa.String(length=length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "agent_sessions",
        sa.Column("id", _id_text(36), nullable=False),
        sa.Column("idempotency_key", _id_text(200), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("bot_id", sa.String(length=200), nullable=False),
        sa.Column("customer_id", sa.String(length=200), nullable=False),
        sa.Column("media_type", sa.String(length=200), nullable=False),
        sa.Column("intent_name", sa.String(length=200), nullable=True),
        sa.Column("intent_confidence", sa.Double(), nullable=True),
        sa.Column("sentiment_score", sa.Double(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("escalated", sa.Boolean(), nullable=False),
        sa.Column("queue_id", sa.String(length=200), nullable=True),
        sa.Column("conversation_id", _id_text(200), nullable=True),
        sa.Column("requested_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.CheckConstraint(
            "state IN ('starting', 'started', 'refused', 'failed', 'uncertain')", name=op.f("ck_agent_sessions_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_sessions")),
        sa.UniqueConstraint("conversation_id", name=op.f("uq_agent_sessions_conversation_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_agent_sessions_idempotency_key")),
    )
    op.create_index(op.f("ix_agent_sessions_bot_id"), "agent_sessions", ["bot_id"], unique=False)

    op.create_table(
        "closures",
        sa.Column("conversation_id", _id_text(200), nullable=False),
        sa.Column("organization_id", sa.String(length=200), nullable=True),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("customer_left_at", INSTANT, nullable=True),
        sa.Column("awaiting_until", INSTANT, nullable=True),
        sa.Column("resolution", sa.String(length=16), nullable=False),
        sa.Column("resolution_source", sa.String(length=32), nullable=True),
        sa.Column("resolution_reason", sa.String(length=200), nullable=True),
        sa.Column("resolution_final", sa.Boolean(), nullable=False),
        sa.Column("media_type", sa.String(length=200), nullable=True),
        sa.Column("message_type", sa.String(length=200), nullable=True),
        sa.Column("direction", sa.String(length=200), nullable=True),
        sa.Column("provider", sa.String(length=200), nullable=True),
        sa.Column("disconnect_type", sa.String(length=200), nullable=True),
        sa.Column("customer_id", sa.String(length=200), nullable=True),
        sa.Column("customer_address", sa.String(length=1000), nullable=True),
        sa.Column("our_address", sa.String(length=1000), nullable=True),
        sa.Column("wrapup_code", sa.String(length=200), nullable=True),
        sa.Column("wrapup_notes", sa.Text(), nullable=True),
        sa.Column("agent_took_part", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("talk_ms", sa.BigInteger(), nullable=True),
        sa.Column("held_ms", sa.BigInteger(), nullable=True),
        sa.Column("acw_ms", sa.BigInteger(), nullable=True),
        sa.Column("agent_ids", JSON, nullable=False),
        sa.Column("queue_ids", JSON, nullable=False),
        sa.Column("flow_ids", JSON, nullable=False),
        sa.Column("bot_ids", JSON, nullable=False),
        sa.Column("division_ids", JSON, nullable=False),
        sa.Column("external_contact_ids", JSON, nullable=False),
        sa.Column("external_organization_ids", JSON, nullable=False),
        sa.Column("attributes", JSON, nullable=False),
        sa.Column("text_altered", sa.Boolean(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.CheckConstraint(
            "resolution IN ('resolved', 'unresolved', 'escalated', 'transferred', 'abandoned', 'unknown')",
            name=op.f("ck_closures_resolution"),
        ),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_closures")),
    )
    op.create_index("ix_closures_ended", "closures", ["ended_at", "conversation_id"], unique=False)
    op.create_index("ix_closures_updated", "closures", ["updated_at", "conversation_id"], unique=False)

    op.create_table(
        "conversation_people",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", _id_text(400), nullable=False),
        sa.Column("conversation_id", _id_text(200), nullable=False),
        sa.PrimaryKeyConstraint("kind", "value", "conversation_id", name=op.f("pk_conversation_people")),
    )
    op.create_index(
        op.f("ix_conversation_people_conversation_id"), "conversation_people", ["conversation_id"], unique=False
    )

    op.create_table(
        "events",
        sa.Column("event_id", _id_text(36), nullable=False),
        sa.Column("dedupe_key", _id_text(640), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("conversation_id", _id_text(200), nullable=True),
        sa.Column("organization_id", sa.String(length=200), nullable=True),
        sa.Column("occurred_at", INSTANT, nullable=True),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("trace_id", sa.String(length=200), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("status IN ('accepted', 'quarantined', 'ignored')", name=op.f("ck_events_status")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_events_dedupe_key")),
    )
    op.create_index(op.f("ix_events_conversation_id"), "events", ["conversation_id"], unique=False)
    op.create_index(
        "ix_events_quarantined",
        "events",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("status = 'quarantined'"),
        sqlite_where=sa.text("status = 'quarantined'"),
    )

    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "registrations",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("remote_id", sa.String(length=200), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.CheckConstraint("state IN ('registered', 'failed')", name=op.f("ck_registrations_state")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_registrations")),
    )
    op.create_table(
        "targets",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("name", _id_text(63), nullable=False),
        sa.Column("adapter", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("paused_at", INSTANT, nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("not_before", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("state IN ('live', 'paused', 'retired')", name=op.f("ck_targets_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_targets")),
        sa.UniqueConstraint("name", name=op.f("uq_targets_name")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.CheckConstraint("role IN ('reader', 'operator')", name=op.f("ck_tokens_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("target_id", NUMBER, nullable=False),
        sa.Column("conversation_id", _id_text(200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("desired_version", sa.BigInteger(), nullable=False),
        sa.Column("delivered_version", sa.BigInteger(), nullable=True),
        sa.Column("payload_hash", sa.String(length=64), nullable=True),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("claim_token", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lost_leases", sa.Integer(), nullable=False),
        sa.Column("push_again", sa.Boolean(), nullable=False),
        sa.Column("redelivery", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("crm_record_id", sa.String(length=1000), nullable=True),
        sa.Column("crm_url", sa.Text(), nullable=True),
        sa.Column("delivered_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["closures.conversation_id"], name=op.f("fk_deliveries_conversation_id")
        ),
        sa.ForeignKeyConstraint(["target_id"], ["targets.id"], name=op.f("fk_deliveries_target_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("target_id", "conversation_id", name=op.f("uq_deliveries_target_id_conversation_id")),
    )
    op.create_index(op.f("ix_deliveries_conversation_id"), "deliveries", ["conversation_id"], unique=False)
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["target_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )

    op.create_table(
        "delivery_attempts",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("delivery_id", NUMBER, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("push_key", sa.String(length=400), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("vendor_request_id", sa.String(length=200), nullable=True),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=False),
        sa.CheckConstraint(
            "outcome IN ('created', 'updated', 'unchanged', 'skipped', 'failed')",
            name=op.f("ck_delivery_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempts")),
    )
    op.create_index(op.f("ix_delivery_attempts_delivery_id"), "delivery_attempts", ["delivery_id"], unique=False)


def downgrade() -> None:
    op.drop_table("delivery_attempts")
    op.drop_table("deliveries")
    op.drop_table("tokens")
    op.drop_table("targets")
    op.drop_table("registrations")
    op.drop_table("leases")
    op.drop_table("events")
    op.drop_table("conversation_people")
    op.drop_table("closures")
    op.drop_table("agent_sessions")
