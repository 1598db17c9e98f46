"""The feed of changes: a reader who goes on from its cursor misses nothing, whatever happens in between."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from crm_sync import clock
from crm_sync.services import Services
from crm_sync.store.tables import ClosureRow
from tests.integration.readers import LONG_AGO, Caller, add_closure, caller, service

SINCE = "2020-01-01T00:00:00Z"


@pytest.fixture
def services(migrated_url: str) -> Iterator[Services]:
    """The services on an empty, migrated database."""
    with service(migrated_url) as opened:
        yield opened


def add(services: Services, *names: str, updated_at: datetime = LONG_AGO) -> None:
    """Store closures that changed at this instant."""
    with services.database.write() as connection:
        for name in names:
            add_closure(connection, name, updated_at=updated_at)


def change(services: Services, name: str, *, at: datetime) -> None:
    """Let a closure have changed at this instant."""
    with services.database.write() as connection:
        connection.execute(update(ClosureRow).where(ClosureRow.conversation_id == name).values(updated_at=at))


def read_on(reader: Caller, cursor: str | None, *, limit: int) -> tuple[list[str], str]:
    """Read up to the present end of the feed, and return what was met and where to go on."""
    met: list[str] = []
    while True:
        query = {"updated_since": SINCE, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        page = reader.closures(**query)
        met += [closure["conversation_id"] for closure in page["closures"]]
        cursor = page["next"]
        assert cursor
        if not page["has_more"]:
            return met, cursor


def test_the_oldest_change_comes_first(services: Services) -> None:
    add(services, "b", "a", updated_at=LONG_AGO + timedelta(microseconds=1))
    add(services, "c")
    reader = caller(services)

    for limit in (1, 2, 3, 50):
        assert read_on(reader, None, limit=limit)[0] == ["c", "a", "b"], limit


@pytest.mark.parametrize("limit", [1, 50])
def test_a_reader_who_goes_on_meets_only_what_changed_since(services: Services, limit: int) -> None:
    add(services, "a", "b", "c")
    reader = caller(services)
    met, cursor = read_on(reader, None, limit=limit)
    assert met == ["a", "b", "c"]

    change(services, "a", at=LONG_AGO + timedelta(seconds=1))
    add(services, "d", updated_at=LONG_AGO + timedelta(seconds=2))

    met, cursor = read_on(reader, cursor, limit=limit)
    assert met == ["a", "d"]
    assert read_on(reader, cursor, limit=limit)[0] == []


def test_a_closure_that_changes_while_pages_are_read_is_met_again_and_hides_no_other(services: Services) -> None:
    add(services, "a", "b", "c", "d")
    reader = caller(services)
    first = reader.closures(updated_since=SINCE, limit="2")

    change(services, "a", at=LONG_AGO + timedelta(seconds=1))
    change(services, "c", at=LONG_AGO + timedelta(seconds=2))

    assert read_on(reader, first["next"], limit=2)[0] == ["d", "a", "c"]


def test_an_empty_feed_gives_a_place_to_go_on_from(services: Services) -> None:
    reader = caller(services)
    met, cursor = read_on(reader, None, limit=50)
    assert met == []

    add(services, "a")

    assert read_on(reader, cursor, limit=50)[0] == ["a"]


def test_the_feed_ends_30_s_before_now_so_that_no_late_commit_is_passed_by(services: Services) -> None:
    add(services, "settled", updated_at=clock.now() - timedelta(seconds=60))
    add(services, "fresh", updated_at=clock.now())
    reader = caller(services)

    met, cursor = read_on(reader, None, limit=50)
    assert met == ["settled"]

    # A transaction that set its `updated_at` before we read, and committed after.
    add(services, "late", updated_at=clock.now() - timedelta(seconds=25))
    change(services, "late", at=clock.now() - timedelta(seconds=35))
    change(services, "fresh", at=clock.now() - timedelta(seconds=40))

    assert read_on(reader, cursor, limit=50)[0] == ["fresh", "late"]


def test_updated_since_is_within_the_feed(services: Services) -> None:
    noon = datetime(2024, 1, 15, 12, tzinfo=UTC)
    add(services, "before", updated_at=noon - timedelta(microseconds=1))
    add(services, "at", updated_at=noon)

    assert caller(services).ids(updated_since="2024-01-15T12:00:00Z") == ["at"]


def test_the_feed_takes_the_other_filters_too(services: Services) -> None:
    add(services, "a", "b")
    with services.database.write() as connection:
        add_closure(connection, "c", closed=True)

    assert caller(services).ids(updated_since=SINCE, closed="true") == ["c"]
