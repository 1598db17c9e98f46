"""The worker's threads: nobody waits for a slow CRM but its own debts, and a stop finishes what is under way."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from crm_sync import clock, worker
from crm_sync.adapters import registry
from crm_sync.errors import SettingsError, SetupError
from crm_sync.settings import Settings
from crm_sync.settings_targets import TargetSettings
from tests.integration.builders import Store, ended, opened_store
from tests.integration.fakes import HangingAdapter

Worker = Callable[[Settings], threading.Event]


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with two targets."""
    with opened_store(migrated_url, names=("crm", "slow")) as opened:
        yield opened


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What the hanging CRM waits for."""
    HangingAdapter.began.clear()
    HangingAdapter.let_go.clear()
    place = f"{HangingAdapter.__module__}:{HangingAdapter.__name__}"
    monkeypatch.setattr(registry, "OURS", {**registry.OURS, "hanging": place})
    yield HangingAdapter.let_go
    HangingAdapter.let_go.set()


def settings(path: Path, *, slow: str = "jsonl") -> Settings:
    """Return settings with a file as the target `crm` and this adapter as the target `slow`."""
    options = {"path": str(path.with_suffix(".slow"))} if slow == "jsonl" else {}
    return Settings(
        database_url="sqlite:////unused",
        targets={
            "crm": TargetSettings(adapter="jsonl", options={"path": str(path)}),
            "slow": TargetSettings(adapter=slow, options=options),
        },
    )


@contextmanager
def working(store: Store, chosen: Settings) -> Iterator[threading.Event]:
    """Run a worker, and stop it at the end."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            worker.run(chosen, store.database, stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        HangingAdapter.let_go.set()
        thread.join(60)
    assert not thread.is_alive()
    assert failures == []


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait, for a minute at most, until this is so."""
    pause = threading.Event()
    for _ in range(1200):
        if is_so():
            return
        pause.wait(0.05)
    raise AssertionError("it has not come to that")


def are_delivered(store: Store, target: str, count: int) -> Callable[[], bool]:
    """Return a question: are so many deliveries of this target paid?"""
    return lambda: len(store.rows("deliveries", target_id=store.target_ids[target], state="delivered")) == count


def test_a_crm_that_hangs_keeps_no_other_waiting(store: Store, let_go: threading.Event, tmp_path: Path) -> None:
    store.record(*(ended(f"c{number}") for number in range(20)))
    with working(store, settings(tmp_path / "crm.jsonl", slow="hanging")):
        assert HangingAdapter.began.wait(60)
        wait_until(are_delivered(store, "crm", 20))
        store.record(ended("one more"))
        wait_until(are_delivered(store, "crm", 21))
        paid_by_the_slow_one = store.rows("deliveries", target_id=store.target_ids["slow"], state="delivered")
        let_go.set()
        wait_until(are_delivered(store, "slow", 21))

    assert paid_by_the_slow_one == []
    assert len((tmp_path / "crm.jsonl").read_text().splitlines()) == 21


def test_a_stop_finishes_the_push_that_is_under_way(store: Store, let_go: threading.Event, tmp_path: Path) -> None:
    store.record(ended())
    with working(store, settings(tmp_path / "crm.jsonl", slow="hanging")) as stop:
        assert HangingAdapter.began.wait(60)
        stop.set()
        let_go.set()

    row = store.delivery(target="slow")
    assert (row.state, row.lease_until, row.claim_token) == ("delivered", None, None)


def test_a_new_target_of_the_settings_is_owed_from_the_start_on_and_one_that_nobody_names_is_retired(
    store: Store, tmp_path: Path
) -> None:
    target = TargetSettings(adapter="jsonl", options={"path": str(tmp_path / "new.jsonl")})
    chosen = Settings(database_url="sqlite:////unused", targets={"new": target})
    store.change("targets", where={"name": "slow"}, named_until=clock.now() - timedelta(seconds=1))
    with working(store, chosen):
        wait_until(lambda: bool(store.rows("targets", name="new")))
        store.record(ended())
        store.target_ids["new"] = store.row("targets", name="new").id
        wait_until(are_delivered(store, "new", 1))

    assert {row.name: row.state for row in store.rows("targets")} == {
        "crm": "live",
        "slow": "retired",
        "new": "live",
    }


def test_every_fault_of_every_target_is_told_before_anything_runs(store: Store) -> None:
    wrong = {name: TargetSettings(adapter="jsonl", options={name: 1}) for name in ("one", "two")}
    with pytest.raises(SettingsError) as told:
        worker.run(Settings(database_url="sqlite:////unused", targets=wrong), store.database, threading.Event())

    assert all(name in str(told.value) for name in ("[targets.one]", "[targets.two]"))
    assert {row.name for row in store.rows("targets")} == {"crm", "slow"}


@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
def test_a_worker_goes_on_after_all_its_sessions_were_ended(store: Store, tmp_path: Path) -> None:
    url = store.database.url
    listening = f"datname = '{url.database}' AND query LIKE 'LISTEN%'"
    plain = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as admin, working(store, settings(tmp_path / "crm.jsonl")):

        def listeners() -> set[int]:
            return {pid for (pid,) in admin.execute(f"SELECT pid FROM pg_stat_activity WHERE {listening}".encode())}

        store.record(ended("before"))
        wait_until(are_delivered(store, "crm", 1))
        wait_until(lambda: bool(listeners()))
        first = listeners()
        admin.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'".encode()
        )
        wait_until(lambda: bool(listeners() - first))
        store.record(ended("after"))
        wait_until(are_delivered(store, "crm", 2))


def test_a_worker_without_targets_refuses_to_retire_those_that_are_served(store: Store) -> None:
    settings = Settings(database_url="sqlite:////unused")
    with pytest.raises(SetupError, match="crm"):
        worker.run(settings, store.database, threading.Event())

    assert {row.state for row in store.rows("targets")} == {"live"}
