"""Runs through analytics, and what they found missing or different."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "2026_11_26_reconciliations"
down_revision: str | None = "2026_11_25_breaker"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("parts", JSON, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=200), nullable=True),
        sa.Column("next_cursor", sa.Text(), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("conversations", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("different", sa.Integer(), nullable=False),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.CheckConstraint("state IN ('running', 'done')", name=op.f("ck_reconciliations_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(op.f("ix_reconciliations_state"), "reconciliations", ["state"], unique=False)
    op.create_table(
        "drift",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("reconciliation_id", NUMBER, nullable=False),
        sa.Column("conversation_id", text(200), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("fields", JSON, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("noticed_at", INSTANT, nullable=False),
        sa.CheckConstraint("what IN ('missed', 'different')", name=op.f("ck_drift_what")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"], ["reconciliations.id"], name=op.f("fk_drift_reconciliation_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift")),
        sa.UniqueConstraint(
            "reconciliation_id", "conversation_id", name=op.f("uq_drift_reconciliation_id_conversation_id")
        ),
    )
    op.create_index(op.f("ix_drift_conversation_id"), "drift", ["conversation_id"], unique=False)
    op.create_index(op.f("ix_drift_noticed_at"), "drift", ["noticed_at"], unique=False)


def downgrade() -> None:
    op.drop_table("drift")
    op.drop_table("reconciliations")
