"""`crm-sync replay`: kept events through the same door again."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from sqlalchemy import select

from crm_sync import clock
from crm_sync.closure import Event, EventStatus
from crm_sync.store.engine import Database
from crm_sync.store.tables import ClosureRow
from tests.integration.readers import service

Command = Callable[..., Result]

ENDED = b"""{"id": "c1", "state": "closed", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T10:30:00Z",
             "resolutionStatus": "resolved"}"""


@pytest.fixture
def quarantined_url(migrated_url: str) -> str:
    """A database with two quarantined events: one that is understood by now, and one that never will be."""
    with service(migrated_url) as services:
        services.intake.record([kept("understood", ENDED), kept("broken", b"{")])
    return migrated_url


def kept(key: str, body: bytes) -> Event:
    """Return a quarantined event."""
    return Event(
        dedupe_key=key, status=EventStatus.QUARANTINED, kind="unknown", body=body, source="webhook",
        received_at=clock.now(), reason="not understood then",
    )  # fmt: skip


def closures(url: str) -> list[str]:
    """Return the conversations with a closure."""
    database = Database(url)
    try:
        with database.read() as connection:
            return list(connection.scalars(select(ClosureRow.conversation_id)))
    finally:
        database.close()


def test_a_dry_run_counts_and_changes_nothing(quarantined_url: str, crm_sync: Command) -> None:
    assert crm_sync("replay", "--dry-run").stdout == "2 events would be read.\n"
    assert json.loads(crm_sync("replay", "--dry-run", "--json").stdout) == {"would_read": 2}
    assert closures(quarantined_url) == []


def test_what_is_understood_by_now_is_merged_once(quarantined_url: str, crm_sync: Command) -> None:
    first = json.loads(crm_sync("replay", "--json").stdout)
    second = json.loads(crm_sync("replay", "--json").stdout)

    assert first == {"read": 2, "accepted": 1, "quarantined": 1}
    assert second == {"read": 1, "accepted": 0, "quarantined": 1}
    assert closures(quarantined_url) == ["c1"]


def test_one_event_is_replayed_by_its_id(quarantined_url: str, crm_sync: Command) -> None:
    replayed = crm_sync("replay", kept("understood", ENDED).event_id)

    assert replayed.stdout == "1 events were read: 1 are understood, 0 still are not.\n"
    assert closures(quarantined_url) == ["c1"]
