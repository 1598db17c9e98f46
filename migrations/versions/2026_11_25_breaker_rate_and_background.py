"""Breaker, rate and choice of targets; deliveries that wait in the background."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "2026_11_25_breaker"
down_revision: str | None = "2026_11_25_first"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    # Defaults in the database, so that a process of the release before can go on inserting rows.
    op.add_column("targets", sa.Column("owed_when", JSON, nullable=True))
    op.add_column("targets", sa.Column("named_until", INSTANT, nullable=True))
    op.add_column("targets", sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("targets", sa.Column("trips", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("targets", sa.Column("open_until", INSTANT, nullable=True))
    op.add_column("targets", sa.Column("tat", INSTANT, nullable=True))
    op.add_column("deliveries", sa.Column("in_background", sa.Boolean(), server_default=sa.false(), nullable=False))
    # Their processes run the release before, which does not say that it names them: nobody must retire them for that.
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    in_an_hour = "now() + interval '1 hour'" if is_postgresql else "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+1 hour')"
    op.execute(f"UPDATE targets SET named_until = {in_an_hour} WHERE state <> 'retired'")
    op.create_index(
        "ix_deliveries_claim",
        "deliveries",
        ["target_id", "in_background", "due_at"],
        unique=False,
        postgresql_where=PENDING,
        sqlite_where=PENDING,
    )
    op.drop_index("ix_deliveries_due", table_name="deliveries")


def downgrade() -> None:
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["target_id", "due_at"],
        unique=False,
        postgresql_where=PENDING,
        sqlite_where=PENDING,
    )
    op.drop_index("ix_deliveries_claim", table_name="deliveries")
    op.drop_column("deliveries", "in_background")
    for name in ("tat", "open_until", "trips", "failures", "named_until", "owed_when"):
        op.drop_column("targets", name)
