"""A worker's threads: a heartbeat that keeps leases alive, a watch over calls that never return, an orderly end."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from crm_sync import clock, deliver, worker
from crm_sync.adapters.contract import Adapter
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.settings import Settings
from crm_sync.worker import Crew
from tests.integration.builders import Store, ended, named, opened_store
from tests.integration.delivering import lane_to
from tests.integration.fakes import BusyAdapter, PoisonedAdapter

LONG = 30.0
"""More than a call may take."""


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with two targets."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        yield opened


@pytest.fixture
def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass by the clock of the worker."""
    passed, monotonic = [0.0], clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: monotonic() + passed[0])
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


@pytest.fixture
def logged() -> Iterator[Callable[[str], list[Mapping[str, object]]]]:
    """What the worker has said, by the name of the event."""
    structlog.reset_defaults()
    with capture_logs() as entries:
        yield lambda name: [entry for entry in entries if entry["event"] == name]


@contextmanager
def at_work(store: Store, adapters: Mapping[str, Adapter], *, lease_seconds: int = 2) -> Iterator[Crew]:
    """Let a crew serve these targets with one lane each, and end it. Its heart beats eight times in a lease."""
    seconds = {"lease_seconds": lease_seconds, "push_deadline_seconds": 1}
    settings = Settings.model_validate({
        "database_url": "sqlite:////unused", "worker": seconds,
        "targets": named(*adapters, concurrency=1),
    })  # fmt: skip
    stop = threading.Event()
    crew = Crew(settings, store.database, adapters, stop)
    crew.start()
    awake = threading.Thread(target=crew.keep_awake)
    awake.start()
    try:
        yield crew
    finally:
        stop.set()
        for adapter in adapters.values():
            if isinstance(adapter, PoisonedAdapter):
                adapter.let_go.set()
        awake.join(30)
        assert crew.has_ended(30)


def soon(is_so: Callable[[], bool], *, seconds: float = 20) -> bool:
    """Wait until this is so, and tell whether it has come to that."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if is_so():
            return True
        pause.wait(0.02)
    return False


def states(store: Store, target: str = "crm") -> dict[str, str]:
    """Return the state of each delivery of a target."""
    return {row.conversation_id: row.state for row in store.rows("deliveries", target_id=store.target_ids[target])}


def are_paid(store: Store, *names: str, target: str = "crm") -> Callable[[], bool]:
    """Return a question: are these delivered?"""
    return lambda: all(states(store, target).get(name) == "delivered" for name in names)


@pytest.mark.parametrize("in_prepare", [False, True], ids=["in its call", "before it"])
def test_a_record_that_hangs_is_dead_after_four_losses_and_harms_no_other(
    store: Store, pass_by: Callable[[float], None], logged: Callable[[str], list[object]], in_prepare: bool
) -> None:
    store.record(ended("a"), ended("poison"), ended("b"))
    crm = PoisonedAdapter(in_prepare=in_prepare)
    with at_work(store, {"crm": crm, "other": MemoryAdapter()}):
        for _ in range(4):
            assert crm.hung.acquire(timeout=20)
            pass_by(LONG)
        assert soon(lambda: states(store)["poison"] == "dead")
        assert soon(are_paid(store, "a", "b"))
        assert soon(are_paid(store, "a", "poison", "b", target="other"))
        store.record(ended("later"))
        assert soon(are_paid(store, "later"))
        codes = [row.code for row in store.rows("delivery_attempts") if row.outcome == "failed"]
        kept = states(store)["poison"]

    assert (codes, kept) == (["took_its_worker_down"], "dead")
    assert len(logged("push_hangs")) == 4


def test_what_a_call_brings_that_returns_after_all_ends_well(
    store: Store, pass_by: Callable[[float], None], logged: Callable[[str], list[object]]
) -> None:
    store.record(ended("poison"))
    crm = PoisonedAdapter()
    with at_work(store, {"crm": crm}):
        assert crm.hung.acquire(timeout=20)
        pass_by(LONG)
        assert crm.hung.acquire(timeout=20), "the lane was replaced, and has claimed it again"
        crm.let_go.set()
        assert soon(are_paid(store, "poison"))
        assert soon(lambda: bool(logged("settled_too_late")) or store.count("delivery_attempts") > 1)
        assert soon(are_paid(store, "poison"))

    row = store.delivery("poison")
    assert (row.state, row.claim_token, row.lease_until, row.lost_leases) == ("delivered", None, None, 0)
    assert crm.records.keys() == {"poison"}


def test_what_hangs_is_claimed_again_long_before_its_lease_would_have_run_out(
    store: Store, pass_by: Callable[[float], None]
) -> None:
    store.record(ended("poison"))
    crm = PoisonedAdapter()
    with at_work(store, {"crm": crm}, lease_seconds=8):
        assert crm.hung.acquire(timeout=20)
        lease = store.delivery("poison").lease_until
        pass_by(LONG)
        assert crm.hung.acquire(timeout=20)
        assert clock.now() < lease


def test_calls_that_hang_open_the_breaker(store: Store, pass_by: Callable[[float], None]) -> None:
    store.record(*(ended(f"c{number}") for number in range(5)), ended("poison"))
    store.change("targets", where={"name": "crm"}, failures=4)
    store.change("deliveries", where={"conversation_id": "poison"}, due_at=clock.now() - timedelta(hours=1))
    crm = PoisonedAdapter()
    with at_work(store, {"crm": crm}):
        assert crm.hung.acquire(timeout=20)
        pass_by(LONG)
        assert soon(lambda: store.row("targets", name="crm").open_until is not None)
        target = store.row("targets", name="crm")

    assert (target.failures, target.trips) == (5, 1)


def test_the_heart_beats_while_a_call_is_under_way(store: Store, pass_by: Callable[[float], None]) -> None:
    seen: list[object] = []

    def wait_for_a_beat() -> None:
        first = store.delivery("a").lease_until
        pass_by(0.9)
        seen.append(soon(lambda: bool(store.delivery("a").lease_until > first), seconds=5))

    store.record(ended("a"))
    with at_work(store, {"crm": BusyAdapter(wait_for_a_beat)}):
        assert soon(are_paid(store, "a"))

    assert seen == [True]


def test_a_worker_says_from_time_to_time_which_targets_it_serves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "KEEP_SECONDS", 0.0)
    ago = clock.now() - timedelta(seconds=1)
    with at_work(store, {"crm": MemoryAdapter()}):
        store.change("targets", named_until=ago)
        assert soon(lambda: store.row("targets", name="crm").named_until > ago)
        assert soon(lambda: bool(store.row("targets", name="other").state == "retired"))

    assert store.row("targets", name="crm").state == "live"


def test_each_claim_names_the_worker_that_holds_it(store: Store, logged: Callable[[str], list[object]]) -> None:
    store.record(ended("a"))
    tokens: list[str] = []
    crm = BusyAdapter(lambda: tokens.append(store.delivery("a").claim_token))
    with at_work(store, {"crm": crm}) as crew:
        assert soon(are_paid(store, "a"))

    assert [(len(token), token[:8]) for token in tokens] == [(32, crew.name)]
    (started,) = logged("worker_started")
    assert isinstance(started, dict) and started["worker"] == crew.name


def test_a_stop_waits_for_no_call_that_never_returns(store: Store, logged: Callable[[str], list[object]]) -> None:
    store.record(ended("poison"))
    crm = PoisonedAdapter()
    with at_work(store, {"crm": crm, "other": MemoryAdapter()}) as crew:
        assert crm.hung.acquire(timeout=20)
        ended_well = crew.has_ended(0.1)

    assert ended_well is False
    (said,) = logged("pushes_hang")
    assert isinstance(said, dict) and "deliver-crm" in said["lanes"]


def test_a_lane_that_has_failed_is_not_taken_for_one_that_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_channel: object, _entries: object, may_call: Callable[[], bool]) -> None:
        assert may_call()
        raise RuntimeError("a defect of ours")

    store.record(ended("a"))
    monkeypatch.setattr(deliver, "push", fail)
    lane = lane_to(store, MemoryAdapter())
    with pytest.raises(RuntimeError):
        deliver.deliver_once(lane, store.database)

    assert lane.hold is None
