"""What each target is owed: a row in `deliveries` for every conversation that it is to hear of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, select, text
from sqlalchemy.types import BigInteger, Boolean, String, TypeEngine

from crm_sync.store import bulk
from crm_sync.store.tables import TargetRow
from crm_sync.when import When

CHANNEL = "crm_sync_deliveries"
"""Where PostgreSQL is told of commits that hold debts."""

_TARGETS = TargetRow.metadata.tables["targets"]
_OWED: dict[str, TypeEngine[Any]] = {
    "target_id": BigInteger(), "conversation_id": String(), "version": BigInteger(), "is_chosen": Boolean(),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A closure whose version has risen, with what decides who is owed it."""

    conversation_id: str
    version: int
    closed: bool
    media_type: str | None
    direction: str | None
    queue_ids: Sequence[str]
    division_ids: Sequence[str]

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], *, version: int) -> Self:
        """Return it from the columns of a closure."""
        return cls(version=version, **{name: columns[name] for name in cls.__dataclass_fields__ if name != "version"})

    def is_owed(self, when: When) -> bool:
        """Tell whether a target that has not heard of it yet is to hear of it."""
        return self.closed and when.chooses(
            media_type=self.media_type,
            direction=self.direction,
            queue_ids=self.queue_ids,
            division_ids=self.division_ids,
        )


def owe(connection: Connection, raised: Sequence[Raised]) -> None:
    """Owe each of these versions to every target that is to hear of it, and wake the workers at the commit.

    That is each target that is not retired and chooses the conversation, once it is closed; and whoever was owed an
    earlier version, whatever has become of it since. A delivery that waits keeps its due time, or an update would
    defeat its back-off.
    """
    # Locked as the foreign key will, so that none of them is removed before we have committed.
    targets = connection.execute(
        select(_TARGETS.c.id, _TARGETS.c.owed_when, _TARGETS.c.state).with_for_update(read=True, key_share=True)
    )
    choices = [(row.id, When.from_record(row.owed_when), row.state != "retired") for row in targets]
    records = [
        {
            "target_id": target_id,
            "conversation_id": each.conversation_id,
            "version": each.version,
            "is_chosen": is_served and each.is_owed(when),
        }
        for each in raised
        for target_id, when, is_served in choices
    ]
    if not records:
        return
    source, parameters = bulk.typed_rows(connection, _OWED, records)
    now = bulk.now_sql(connection)
    owed = connection.execute(
        text(f"""
            INSERT INTO deliveries (target_id, conversation_id, state, desired_version, due_at, attempts, lost_leases,
                                    push_again, redelivery, in_background, created_at, updated_at)
            SELECT r.target_id, r.conversation_id, 'pending', r.version, {now}, 0, 0, false, 0, false, {now}, {now}
            FROM {source}
                LEFT JOIN deliveries AS d ON d.target_id = r.target_id AND d.conversation_id = r.conversation_id
            WHERE r.is_chosen OR d.id IS NOT NULL
            ORDER BY r.conversation_id, r.target_id
            ON CONFLICT (target_id, conversation_id) DO UPDATE SET
                desired_version = {bulk.greatest_sql(connection)}(deliveries.desired_version, excluded.desired_version),
                due_at = CASE WHEN deliveries.state = 'pending' THEN deliveries.due_at ELSE excluded.due_at END,
                attempts = CASE WHEN deliveries.state = 'pending' THEN deliveries.attempts ELSE 0 END,
                lost_leases = CASE WHEN deliveries.state = 'pending' THEN deliveries.lost_leases ELSE 0 END,
                state = 'pending',
                in_background = false,
                updated_at = excluded.updated_at
        """),
        parameters,
    )
    if owed.rowcount:
        wake(connection)


def wake(connection: Connection) -> None:
    """Wake the workers once this transaction has been committed. SQLite's see the commit by themselves."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_notify('{CHANNEL}', '')"))
