"""A lease has one holder at a time, on any host, until its end by the database's clock."""

import threading
import time
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


def test_a_held_lease_is_ours_for_the_block_and_free_after_it(database: Database) -> None:
    with leases.held(database, "work", seconds=60) as lease:
        assert lease is not None and lease.extend()
        assert not _acquire(database, "b")
        with leases.held(database, "work", seconds=60) as another:
            assert another is None
        assert lease.extend()

    assert _acquire(database, "b")


def test_a_block_that_fails_gives_its_lease_back(database: Database) -> None:
    with pytest.raises(KeyError), leases.held(database, "work", seconds=60):
        raise KeyError

    assert _acquire(database, "b")


def test_a_held_lease_that_was_lost_is_known_as_lost_and_not_taken_from_its_new_holder(database: Database) -> None:
    with leases.held(database, "work", seconds=-1) as lease:
        assert _acquire(database, "b")
        assert lease is not None and not lease.extend()

    assert _extend(database, "b")


def test_a_held_lease_that_beats_outlasts_its_time(database: Database) -> None:
    with leases.held(database, "work", seconds=3, beats=True):
        time.sleep(4)
        assert not _acquire(database, "b")


def test_who_waits_for_a_lease_gets_it_when_its_time_is_over(database: Database) -> None:
    assert _acquire(database, "a", seconds=1)

    with leases.held(database, "work", seconds=60, wait_seconds=60) as lease:
        assert lease is not None


def test_who_waits_for_a_lease_gives_up_when_told_to_stop(database: Database) -> None:
    stop = threading.Event()
    stop.set()
    assert _acquire(database, "a")

    with leases.held(database, "work", seconds=60, wait_seconds=3600, stop=stop) as lease:
        assert lease is None


def _acquire(database: Database, holder: str, seconds: float = 60) -> bool:
    with database.write() as connection:
        return leases.acquire(connection, "work", holder=holder, seconds=seconds)


def _extend(database: Database, holder: str) -> bool:
    with database.write() as connection:
        return leases.extend(connection, "work", holder=holder, seconds=60)
