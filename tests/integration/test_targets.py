"""The life of a target: owed from its first day on, paused, retired and back, always under one id."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.errors import NotFound
from crm_sync.settings_targets import TargetSettings
from crm_sync.store import pacing, targets
from crm_sync.store.engine import Database
from crm_sync.store.targets import NAMED_AT_START, NAMED_BY_A_WORKER
from tests.integration.builders import Store, ended, named, opened_store

NOW = clock.now().replace(microsecond=0)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the targets `crm` and `other`."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        yield opened


def sync(store: Store, *names: str, **settings: Any) -> dict[str, int]:
    """Start a process with these targets."""
    with store.database.write() as connection:
        return targets.sync(connection, named(*names, **settings))


def keep(store: Store, *names: str) -> None:
    """Let a worker say that it serves these targets."""
    with store.database.write() as connection:
        targets.keep(connection, [store.target_ids[name] for name in names])


def pass_by(store: Store, span: timedelta, *names: str) -> None:
    """Let so much time pass since these targets were named."""
    for name in names:
        known = store.row("targets", name=name).named_until
        store.change("targets", where={"name": name}, named_until=known - span)


def test_the_settings_become_rows_and_a_second_start_changes_nothing(store: Store) -> None:
    before = store.rows("targets")

    assert sync(store, "crm", "other") == store.target_ids
    after = store.rows("targets")
    assert [dict(row._mapping) | {"named_until": None} for row in after] == [
        dict(row._mapping) | {"named_until": None} for row in before
    ]
    assert {row.name: (row.adapter, row.state) for row in before} == dict.fromkeys(("crm", "other"), ("memory", "live"))


def test_a_target_that_has_left_the_settings_is_retired_and_comes_back_under_its_id(store: Store) -> None:
    store.record(ended())
    pass_by(store, NAMED_AT_START, "other")
    keep(store, "crm")
    retired = store.row("targets", name="other").state
    ids = sync(store, "crm") | sync(store, "other", adapter="jsonl")
    back = store.row("targets", name="other")

    assert retired == "retired"
    assert ids == store.target_ids
    assert (back.state, back.adapter) == ("live", "jsonl")
    assert store.delivery(target="other").state == "pending", "its debts were kept"


def test_a_start_does_not_resume_what_was_paused(store: Store) -> None:
    with store.database.write() as connection:
        targets.pause(connection, "crm", "somebody must look")
    sync(store, "crm", adapter="webhook")
    row = store.row("targets", name="crm")

    assert (row.state, row.adapter, row.paused_reason) == ("paused", "webhook", "somebody must look")


def test_resuming_forgets_the_reason_and_every_rest(store: Store) -> None:
    with store.database.write() as connection:
        targets.pause(connection, "crm", "somebody must look")
        pacing.rest(connection, store.target_id, timedelta(hours=1))
        targets.resume(connection, "crm")
    row = store.row("targets", name="crm")

    assert (row.state, row.paused_at, row.paused_reason, row.not_before) == ("live", None, None, None)


def test_the_longest_rest_that_a_crm_has_asked_for_holds(store: Store) -> None:
    with store.database.write() as connection:
        for minutes in (5, 60, 1):
            pacing.rest(connection, store.target_id, timedelta(minutes=minutes))
    row = store.row("targets", name="crm")

    assert row.not_before > clock.now() + timedelta(minutes=50)


def test_a_target_that_was_paused_comes_back_paused(store: Store) -> None:
    with store.database.write() as connection:
        targets.pause(connection, "other", "somebody must look")
    sync(store, crm="memory")
    sync(store, crm="memory", other="memory")

    assert store.row("targets", name="other").state == "paused"


def test_a_process_that_only_receives_retires_nobody(store: Store) -> None:
    pass_by(store, NAMED_AT_START, "other")
    sync(store, "crm")

    assert store.row("targets", name="other").state == "live"


def test_a_worker_that_does_not_know_a_new_target_yet_does_not_end_what_it_is_owed(store: Store) -> None:
    pass_by(store, NAMED_AT_START - timedelta(minutes=1), "other")
    keep(store, "crm")
    store.record(ended())

    assert store.row("targets", name="other").state == "live"
    assert store.delivery(target="other").state == "pending"


def test_a_target_is_not_retired_while_any_worker_serves_it(store: Store) -> None:
    pass_by(store, NAMED_AT_START, "crm", "other")
    keep(store, "crm", "other")
    pass_by(store, NAMED_BY_A_WORKER - timedelta(minutes=1), "other")
    keep(store, "crm")
    while_it_runs = store.row("targets", name="other").state
    pass_by(store, timedelta(minutes=1), "other")
    keep(store, "crm")

    assert while_it_runs == "live"
    assert store.row("targets", name="other").state == "retired"


@pytest.mark.parametrize("name", ["nobody", "other"])
def test_what_is_unknown_or_retired_cannot_be_paused_or_resumed(store: Store, name: str) -> None:
    pass_by(store, NAMED_AT_START, "other")
    keep(store, "crm")
    for change in (lambda c: targets.pause(c, name, "why"), lambda c: targets.resume(c, name)):
        with pytest.raises(NotFound, match=name), store.database.write() as connection:
            change(connection)


def test_each_target_is_shown_with_what_it_is_owed(store: Store) -> None:
    store.record(ended("a"), ended("b"), ended("c"), ended("d"))
    of_crm = {"target_id": store.target_id}
    store.change("deliveries", where=of_crm | {"conversation_id": "a"}, state="delivered", due_at=NOW)
    store.change("deliveries", where=of_crm | {"conversation_id": "b"}, state="dead", due_at=NOW)
    store.change("deliveries", where=of_crm | {"conversation_id": "c"}, due_at=NOW + timedelta(hours=1))
    store.change("deliveries", where=of_crm | {"conversation_id": "d"}, due_at=NOW + timedelta(hours=2))
    sync(store, "new")
    with store.database.read() as connection:
        crm, new, other = targets.rows(connection)

    assert [target.name for target in (crm, new, other)] == ["crm", "new", "other"]
    assert (crm.owed, crm.dead, crm.delivered) == (2, 1, 1)
    assert crm.owed_since == store.delivery("c").created_at
    assert (new.owed, new.dead, new.delivered, new.owed_since) == (0, 0, 0, None)
    assert other.owed == 4


def test_processes_that_start_together_agree_on_the_rows(migrated_url: str) -> None:
    for round_ in range(10):
        names = named(*(f"{round_}-{number}" for number in range(4)))
        barrier = threading.Barrier(4)
        found: list[object] = []

        def start(names: dict[str, TargetSettings] = names, barrier: threading.Barrier = barrier) -> None:
            database = Database(migrated_url)
            try:
                with database.write() as connection:
                    barrier.wait(60) if database.is_postgresql else None
                    found.append(targets.sync(connection, names))  # noqa: B023
            except BaseException as error:
                found.append(error)  # noqa: B023
            finally:
                database.close()

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        assert len(found) == 4
        assert all(isinstance(ids, dict) and ids == found[0] for ids in found)
