"""What several processes and threads do to one database at once: nothing is lost, doubled, or waited for for ever."""

import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import pytest

from crm_sync.store import outbox
from tests.integration.builders import Store, agent_left, ended, opened_store, paid, settlement, started, wrapped_up

pytestmark = pytest.mark.timeout(300)

ROUNDS = 50
SPAWN = multiprocessing.get_context("spawn")
on_postgresql = pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)

Work = Callable[[Store, int, Barrier], object]


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the targets `crm` and `other`."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        yield opened


def in_two_processes(store: Store, work: Work) -> list[object]:
    """Do this in two processes, told apart by a number, and return what each said."""
    barrier, said = SPAWN.Barrier(2), SPAWN.Queue()
    url = store.database.url.render_as_string(hide_password=False)
    processes = [SPAWN.Process(target=_process, args=(url, work, number, barrier, said)) for number in range(2)]
    for process in processes:
        process.start()
    try:
        answers = [said.get(timeout=120) for _ in processes]
    finally:
        for process in processes:
            process.join(60)
            process.kill()
            process.join()
            process.close()
        said.close()
        said.join_thread()
    return answers


def _process(url: str, work: Work, number: int, barrier: Barrier, said: "Queue[object]") -> None:
    with opened_store(url, names=("crm", "other")) as store:
        try:
            said.put(work(store, number, barrier))
        except Exception as error:
            barrier.abort()
            said.put(repr(error))


def record_first_two(store: Store, number: int, barrier: Barrier) -> list[str]:
    """Record one of the first two events of each conversation, at the moment when the other process does."""
    statuses = []
    for round_ in range(ROUNDS):
        name = f"round-{round_}"
        posted = ended(name) if number else wrapped_up(name)
        barrier.wait(60)
        statuses += store.record(posted)
    return statuses


@on_postgresql
def test_two_processes_with_the_first_two_events_of_a_conversation_overwrite_nothing(store: Store) -> None:
    answers = in_two_processes(store, record_first_two)
    closures = store.rows("closures")

    assert answers == [["accepted"] * ROUNDS] * 2
    assert len(closures) == ROUNDS
    assert all(closure.closed and closure.wrapup_notes == "refund issued" for closure in closures)
    assert all(closure.resolution == "resolved" for closure in closures)
    owed = Counter((row.conversation_id, row.desired_version) for row in store.rows("deliveries"))
    assert owed == {(closure.conversation_id, closure.version): 2 for closure in closures}


def record_the_same(store: Store, number: int, barrier: Barrier) -> list[str]:
    """Record the same event as the other process, at the same moment."""
    statuses = []
    for round_ in range(ROUNDS):
        barrier.wait(60)
        statuses += store.record(ended(f"round-{round_}"))
    return statuses


@on_postgresql
def test_two_processes_with_the_same_event_accept_it_once(store: Store) -> None:
    first, second = in_two_processes(store, record_the_same)

    assert isinstance(first, list) and isinstance(second, list)
    assert {frozenset(pair) for pair in zip(first, second, strict=True)} == {frozenset({"accepted", "duplicate"})}
    assert [store.count(name) for name in ("events", "closures", "deliveries")] == [ROUNDS, ROUNDS, 2 * ROUNDS]


def record_crosswise(store: Store, number: int, barrier: Barrier) -> str:
    """Record groups that touch the conversations of the other process's group, in the opposite order."""
    for round_ in range(ROUNDS // 2):
        names = [f"{round_ // 2}-{place}" for place in range(20)]
        posted = [(started if number else ended)(name, at=round_ * 10 + number) for name in names]
        barrier.wait(60)
        store.record(*(posted if number else posted[::-1]))
    return "done"


@on_postgresql
def test_groups_that_touch_the_same_conversations_in_another_order_never_wait_for_each_other(store: Store) -> None:
    assert in_two_processes(store, record_crosswise) == ["done", "done"]
    assert store.count("closures") == 20 * len({round_ // 2 for round_ in range(ROUNDS // 2)})


def claim_and_settle(store: Store, number: int, barrier: Barrier) -> list[int]:
    """Claim in small batches until nothing is left, and return what was claimed."""
    seen: list[int] = []
    barrier.wait(60)
    while claims := store.claim(limit=3):
        seen += [claim.delivery_id for claim in claims]
        assert store.settle(*(paid(claim) for claim in claims)) == []
    return seen


@pytest.mark.parametrize("migrated_url", ["sqlite", "postgresql"], indirect=True)
def test_two_processes_never_hold_one_delivery_at_once(store: Store) -> None:
    store.record(*(ended(f"c{number}") for number in range(60)))
    first, second = in_two_processes(store, claim_and_settle)

    assert isinstance(first, list) and isinstance(second, list)
    assert sorted(first + second) == sorted(row.id for row in store.rows("deliveries", target_id=store.target_id))
    assert {row.state for row in store.rows("deliveries", target_id=store.target_id)} == {"delivered"}


def test_threads_that_record_claim_and_settle_at_once_all_get_through(store: Store) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # Shown by pytest when this fails.
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        dice = random.Random(seed + number)
        barrier.wait(60)
        for step in range(20):
            target = dice.choice(["crm", "other"])
            if dice.random() < 0.5:
                names = dice.sample([f"c{n}" for n in range(12)], 4)
                kinds = (started, ended, wrapped_up, agent_left)
                store.record(*(dice.choice(kinds)(name, at=number * 100 + step) for name in names))
                continue
            claims = store.claim(limit=5, target=target)
            if dice.random() < 0.2 and claims:
                with store.database.write() as connection:
                    outbox.settle(connection, [], claims)
            elif claims:
                store.settle(*(paid(c) if dice.random() < 0.7 else settlement(c) for c in claims))

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, number) for number in range(8)]:
            future.result(120)
    for target in ("crm", "other"):
        while claims := store.claim(target=target):
            store.settle(*(paid(claim) for claim in claims))

    versions = {row.conversation_id: row.version for row in store.rows("closures")}
    rows = store.rows("deliveries")
    assert rows
    assert all((row.state, row.lease_until) == ("delivered", None) for row in rows)
    assert all(row.delivered_version == versions[row.conversation_id] for row in rows)
