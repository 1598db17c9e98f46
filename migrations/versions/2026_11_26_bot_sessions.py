"""Virtual-agent sessions that a bot leads turn by turn."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "2026_11_26_bot_sessions"
down_revision: str | None = "2026_11_26_labels"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ADDED = {
    "bot_session_id": sa.String(length=200),
    "bot_state": sa.String(length=16),
    "turn_id": sa.String(length=200),
    "turn_at": INSTANT,
    "handover": JSON,
    "ended_at": INSTANT,
    "end_reason": sa.String(length=200),
    "resolution": sa.String(length=16),
}


def upgrade() -> None:
    for name, kind in ADDED.items():
        op.add_column("agent_sessions", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in reversed(ADDED):
        op.drop_column("agent_sessions", name)
