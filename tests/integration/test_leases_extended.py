"""How long a claim is ours: as long as its lease is extended, which is while its calls come back in time."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from crm_sync import clock
from crm_sync.deliver import Lane
from crm_sync.holds import GRACE_SECONDS
from crm_sync.settings import WorkerSettings
from crm_sync.store import outbox
from crm_sync.store.outbox import Claim
from tests.integration.builders import Store, ended, opened_store, paid
from tests.integration.delivering import lane_to, turn
from tests.integration.fakes import BusyAdapter, PoisonedAdapter

WORKER = WorkerSettings(lease_seconds=60, push_deadline_seconds=20)
NAMES = [f"c{number}" for number in range(6)]


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`, which is owed six conversations."""
    with opened_store(migrated_url) as opened:
        opened.record(*map(ended, NAMES))
        for place, name in enumerate(NAMES):
            due_at = clock.now() - timedelta(hours=1) + timedelta(seconds=place)
            opened.change("deliveries", where={"conversation_id": name}, due_at=due_at)
        yield opened


@pytest.fixture
def pass_by(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass, by the clock of the worker and by that of the database."""
    passed = [0.0]
    monotonic = clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: monotonic() + passed[0])

    def pass_by(seconds: float) -> None:
        passed[0] += seconds
        store.let_pass(timedelta(seconds=seconds))

    return pass_by


def lane_for(store: Store, crm: BusyAdapter | PoisonedAdapter, *, batch: int = 1) -> Lane:
    """Return a lane that claims all six at once."""
    lane = lane_to(store, crm, worker=WORKER, batch=batch)
    lane.batches = 6
    return lane


def beat(store: Store, lane: Lane) -> None:
    """Do what the heartbeat does."""
    lane.holds.extend(store.database)


def extend(store: Store, claims: list[Claim]) -> set[str]:
    """Extend these claims by an hour, and return the tokens of those that are ours."""
    with store.database.write() as connection:
        return outbox.extend(connection, claims, lease_seconds=3600)


def forsake(store: Store, claims: list[Claim]) -> None:
    """Give these claims up."""
    with store.database.write() as connection:
        outbox.forsake(connection, claims)


def test_a_push_of_many_calls_keeps_its_claims_for_as_long_as_it_takes(
    store: Store, pass_by: Callable[[float], None]
) -> None:
    taken_by_others: list[int] = []

    def take_long() -> None:
        for _ in range(2):
            pass_by(9)
            beat(store, lane)
        taken_by_others.extend(turn(store, lane_to(store, BusyAdapter())))

    crm = BusyAdapter(*[take_long] * 6)
    lane = lane_for(store, crm)
    turn(store, lane)

    assert crm.calls == [[name] for name in NAMES]
    assert taken_by_others == [0] * 6
    assert {(row.state, row.lost_leases) for row in store.rows("deliveries")} == {("delivered", 0)}


def test_without_a_heartbeat_no_call_begins_that_might_outlive_the_lease(
    store: Store, pass_by: Callable[[float], None]
) -> None:
    crm = BusyAdapter(*[lambda: pass_by(15)] * 6)
    turn(store, lane_for(store, crm))

    assert len(crm.calls) == 3  # The next one could last until 45 + 20 seconds after the claim.
    assert len(store.rows("deliveries", state="delivered")) == 3
    assert len(store.rows("deliveries", state="pending", attempts=0, claim_token=None)) == 3


def test_what_another_worker_has_taken_is_neither_sent_nor_settled_any_more(
    store: Store, pass_by: Callable[[float], None]
) -> None:
    theirs: list[Claim] = []

    def lose_the_leases() -> None:
        pass_by(20)
        store.expire_leases()
        theirs.extend(store.claim() + store.claim())
        beat(store, lane)

    crm = BusyAdapter(lose_the_leases)
    lane = lane_for(store, crm)
    turn(store, lane)
    taken = [store.row("deliveries", id=claim.delivery_id) for claim in theirs]
    rest = store.rows("deliveries", claim_token=None)

    assert crm.calls == [["c0"]]
    assert [claim.closure.conversation_id for claim in theirs] == ["c0", "c1"]
    assert [row.claim_token for row in taken] == [claim.token for claim in theirs]
    assert [(row.push_again, row.redelivery) for row in taken] == [(True, 1), (False, 0)]
    assert {(row.state, row.attempts, row.lease_until) for row in rest} == {("pending", 0, None)}
    assert store.count("delivery_attempts") == 0


def test_a_heartbeat_gives_a_lease_back_to_nobody_who_has_lost_it(store: Store) -> None:
    slow = store.claim(limit=1)
    store.expire_leases()
    holder = store.claim(limit=1)
    before = store.delivery("c0")

    assert extend(store, slow) == set()
    assert store.delivery("c0") == before
    assert extend(store, [*slow, *holder]) == {holder[0].token}
    assert store.delivery("c0").lease_until > before.lease_until + timedelta(minutes=50)


def test_what_was_settled_or_given_back_is_not_leased_again(store: Store) -> None:
    claims = store.claim(limit=2)
    store.settle(paid(claims[0]))
    with store.database.write() as connection:
        outbox.settle(connection, [], claims[1:])

    assert extend(store, claims) == set()
    assert {row.lease_until for row in store.rows("deliveries")} == {None}


def test_what_is_given_up_is_claimed_at_once_and_counts_as_lost(store: Store) -> None:
    slow = store.claim(limit=1)
    forsake(store, slow)
    holder = store.claim(limit=1)
    held = store.delivery("c0")
    forsake(store, slow)

    assert [(claim.closure.conversation_id, claim.lost_leases) for claim in holder] == [("c0", 1)]
    assert store.delivery("c0") == held, "who holds it by now loses nothing"


def test_claims_that_were_made_together_are_ours_only_if_all_of_them_are(store: Store) -> None:
    claims, others = store.claim(limit=2), store.claim(limit=2)
    store.change("deliveries", where={"id": claims[0].delivery_id}, claim_token="another's")

    assert extend(store, [*claims, *others]) == {others[0].token}


def test_a_lease_is_not_extended_before_a_quarter_of_it_is_over(store: Store, pass_by: Callable[[float], None]) -> None:
    seen: list[int] = []

    def look() -> None:
        for seconds in (14, 2):
            pass_by(seconds)
            beat(store, lane)
            seen.append(round((store.delivery("c5").lease_until - clock.now()).total_seconds()))

    lane = lane_for(store, BusyAdapter(look))
    turn(store, lane)

    assert [abs(left - wanted) <= 1 for left, wanted in zip(seen, (46, 60), strict=True)] == [True, True], seen


@pytest.mark.parametrize("in_prepare", [False, True], ids=["in its call", "before it"])
def test_a_push_that_does_not_come_back_loses_its_lease(
    store: Store, pass_by: Callable[[float], None], in_prepare: bool
) -> None:
    store.record(ended("poison"))
    leases: list[datetime] = []

    def overdue() -> bool:
        for _ in range(8):
            pass_by((WORKER.push_deadline_seconds + GRACE_SECONDS) / 8 + 0.1)
            beat(store, lane)
        leases.append(store.delivery("poison").lease_until)
        pass_by(5)
        beat(store, lane)
        leases.append(store.delivery("poison").lease_until + timedelta(seconds=5))
        return True

    crm = PoisonedAdapter(in_prepare=in_prepare)
    crm.let_go.wait = lambda timeout=None: overdue()  # type: ignore[method-assign]
    lane = lane_for(store, crm, batch=100)
    turn(store, lane)

    assert leases[0] == leases[1] < clock.now() + timedelta(seconds=60)
    assert leases[0] > clock.now(), "until then it was extended"


@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
def test_a_heartbeat_locks_in_the_order_of_the_inbox_so_that_neither_waits_for_the_other(migrated_url: str) -> None:
    with opened_store(migrated_url, names=("crm", "other")) as store:
        store.record(ended("a"))
        claims = store.claim(target="other") + store.claim()
        lock = text("SELECT id FROM deliveries WHERE target_id = :target_id FOR UPDATE NOWAIT")
        heart = threading.Thread(target=extend, args=(store, claims))
        with store.database.write() as intake:
            first, second = sorted(store.target_ids.values())
            intake.execute(lock, {"target_id": first})
            heart.start()
            while not intake.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() ="
                                         " ANY(pg_blocking_pids(pid))")):  # fmt: skip
                heart.join(0.01)
            found = intake.execute(lock, {"target_id": second}).all()
        heart.join(30)

    assert len(found) == 1
