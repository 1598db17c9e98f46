"""How a waiting worker learns of a commit, and that nothing else wakes it."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from crm_sync.errors import Unavailable
from crm_sync.store.wakeup import Wakeup
from tests.integration.builders import Store, ended, opened_store, started, wrapped_up

QUIET_SECONDS = 0.3
on_postgresql = pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as opened:
        yield opened


@pytest.fixture
def wakeup(store: Store) -> Iterator[Wakeup]:
    """A wakeup that is open."""
    with Wakeup(store.database) as opened:
        yield opened


def test_a_commit_wakes_one_who_waits_already(store: Store) -> None:
    is_open = threading.Event()
    woken: list[bool] = []

    def wait() -> None:
        with Wakeup(store.database) as wakeup:
            is_open.set()
            woken.append(wakeup.wait(60))

    thread = threading.Thread(target=wait)
    thread.start()
    assert is_open.wait(60)
    store.record(ended())
    thread.join(60)

    assert woken == [True]


def test_each_commit_of_debts_wakes_once_and_silence_does_not(store: Store, wakeup: Wakeup) -> None:
    seen = [wakeup.wait(QUIET_SECONDS)]
    for posted in (ended(), wrapped_up()):
        store.record(posted)
        seen += [wakeup.wait(60), wakeup.wait(QUIET_SECONDS)]

    assert seen == [False, True, False, True, False]


def test_a_commit_before_the_wait_is_not_missed(store: Store, wakeup: Wakeup) -> None:
    store.record(ended("a"))
    store.record(ended("b"))

    assert wakeup.wait(60)


def test_what_is_rolled_back_wakes_nobody(store: Store, wakeup: Wakeup) -> None:
    with pytest.raises(ZeroDivisionError), store.database.write() as connection:
        connection.execute(text("DELETE FROM targets"))
        if store.database.is_postgresql:
            connection.execute(text("NOTIFY crm_sync_deliveries"))
        _ = 1 / 0

    assert wakeup.wait(QUIET_SECONDS) is False


def test_several_workers_are_all_woken(store: Store, wakeup: Wakeup) -> None:
    with Wakeup(store.database) as other:
        store.record(ended())

        assert (wakeup.wait(60), other.wait(60)) == (True, True)


@on_postgresql
def test_what_owes_nothing_wakes_nobody(store: Store, wakeup: Wakeup) -> None:
    store.record(started())

    assert wakeup.wait(QUIET_SECONDS) is False


@on_postgresql
def test_a_connection_that_is_lost_is_told_as_unavailable(store: Store, wakeup: Wakeup) -> None:
    with store.database.write() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                 " AND pid <> pg_backend_pid()")
        )  # fmt: skip

    with pytest.raises(Unavailable):
        wakeup.wait(60)


@on_postgresql
def test_a_connection_that_listened_is_not_handed_to_anybody_else(store: Store) -> None:
    with Wakeup(store.database):
        pass
    with store.database.read() as connection:
        assert list(connection.scalars(text("SELECT pg_listening_channels()"))) == []


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_waiting_holds_no_snapshot_that_would_keep_the_log_from_being_emptied(store: Store, wakeup: Wakeup) -> None:
    store.record(ended())
    assert wakeup.wait(60)
    store.record(wrapped_up())
    with store.database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        is_busy, in_log, moved = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()

    assert (is_busy, in_log, moved) == (0, 0, 0)
