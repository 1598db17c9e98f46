"""Names of Genesys Cloud's things, and which conversations analytics was asked for and did not know yet."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "2026_11_26_labels"
down_revision: str | None = "2026_11_26_reconciliations"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)


def text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("kind", text(16), nullable=False),
        sa.Column("id", text(200), nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.CheckConstraint("kind IN ('wrapup_code')", name=op.f("ck_labels_kind")),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_labels")),
    )
    op.create_table(
        "enrichments",
        sa.Column("conversation_id", text(200), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("asked_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_enrichments")),
    )


def downgrade() -> None:
    op.drop_table("enrichments")
    op.drop_table("labels")
