"""A lease has one holder at a time, on any host, until its end by the database's clock."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from crm_sync.store import leases
from crm_sync.store.engine import Database


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    made = Database(migrated_url)
    yield made
    made.close()


def test_of_ten_who_want_a_lease_one_gets_it(database: Database) -> None:
    with ThreadPoolExecutor(10) as pool:
        taken = list(pool.map(lambda holder: _acquire(database, str(holder)), range(10)))

    assert sum(taken) == 1


def test_a_lease_is_free_again_when_it_is_released_or_has_run_out(database: Database) -> None:
    assert _acquire(database, "a") and not _acquire(database, "b")

    with database.write() as connection:
        leases.release(connection, "work", holder="b")
    assert not _acquire(database, "b")
    with database.write() as connection:
        leases.release(connection, "work", holder="a")
    assert _acquire(database, "b", seconds=-1)
    assert _acquire(database, "c")


def test_only_the_holder_extends_a_lease_and_only_in_time(database: Database) -> None:
    _acquire(database, "a")
    assert _extend(database, "a") and not _extend(database, "b")

    assert _acquire(database, "a", seconds=-1)
    assert not _extend(database, "a")


def test_two_leases_do_not_meet(database: Database) -> None:
    with database.write() as connection:
        assert leases.acquire(connection, "one", holder="a", seconds=60)
        assert leases.acquire(connection, "other", holder="b", seconds=60)


def _acquire(database: Database, holder: str, seconds: float = 60) -> bool:
    with database.write() as connection:
        return leases.acquire(connection, "work", holder=holder, seconds=seconds)


def _extend(database: Database, holder: str) -> bool:
    with database.write() as connection:
        return leases.extend(connection, "work", holder=holder, seconds=60)
