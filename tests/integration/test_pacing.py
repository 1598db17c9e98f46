"""What all workers share in a target's row: whoever looks, on whichever host, the breaker and the rate are kept."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event

from crm_sync import clock
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import Kind
from crm_sync.pace import Breaker, Rate
from crm_sync.store import outbox, pacing, targets
from crm_sync.store.outbox import Claim
from tests.integration.builders import Store, ended, opened_store
from tests.integration.delivering import fault, once

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
SLOW = Rate(per_second=0.01, burst=5)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`, which is owed ten conversations."""
    with opened_store(migrated_url) as opened:
        opened.record(*(ended(f"c{number}") for number in range(10)))
        yield opened


@pytest.fixture
def host(migrated_url: str, store: Store) -> Iterator[Store]:
    """The same database, as another host sees it."""
    with opened_store(migrated_url) as opened:
        yield opened


def fail(store: Store, *, times: int = 1, was_probe: bool = False) -> list[Breaker | None]:
    """Let so many calls fail, and return what each was told."""
    told = []
    for _ in range(times):
        with store.database.write() as connection:
            told.append(pacing.failed(connection, store.target_id, was_probe=was_probe))
    return told


def answer(store: Store) -> bool:
    """Let a call be answered; tell whether that closed the breaker."""
    with store.database.write() as connection:
        return pacing.answered(connection, store.target_id)


def give_back(store: Store, claims: list[Claim], rate: Rate) -> None:
    """Give back claims of which nothing was sent."""
    with store.database.write() as connection:
        pacing.correct(connection, store.target_id, rate, -len(claims))
        outbox.settle(connection, [], claims)


def wait(store: Store, *, limit: int, rate: Rate | None = None) -> timedelta | None:
    """Look for something to claim."""
    with store.database.read() as connection:
        return outbox.wait(connection, store.target_id, limit=limit, rate=rate)


def row(store: Store) -> dict[str, Any]:
    """Return the breaker as it is stored."""
    target = store.row("targets")
    return {name: target._mapping[name] for name in ("failures", "trips", "open_until")}


def test_failures_are_counted_over_all_hosts_and_one_of_them_opens_the_breaker(store: Store, host: Store) -> None:
    told = fail(store, times=2) + fail(host, times=2) + fail(store)
    target, later = store.row("targets"), [*store.claim(), *host.claim()]

    assert told[:-1] == [None] * 4
    assert told[-1] is not None and (told[-1].failures, told[-1].trips) == (5, 1)
    assert timedelta(seconds=25) < target.open_until - clock.now() <= timedelta(seconds=31)
    assert later == []


def test_an_answer_between_begins_the_count_anew(store: Store, host: Store) -> None:
    fail(store, times=4)
    was_open = answer(host)
    fail(store, times=4)

    assert was_open is False
    assert row(store) == {"failures": 4, "trips": 0, "open_until": None}
    assert len(store.claim()) == 10


def test_one_host_probes_at_a_time_and_the_next_one_a_lease_later(store: Store, host: Store) -> None:
    fail(store, times=5)
    while_open = [store.claim(), host.claim()]
    store.let_pass(timedelta(seconds=31))
    (probe,) = host.claim()
    others = [store.claim(), host.claim()]
    store.let_pass(timedelta(seconds=61))
    (next_probe,) = store.claim()

    assert [while_open, others] == [[[], []]] * 2
    assert probe.is_probe and next_probe.is_probe
    assert row(store)["failures"] == 5


def test_the_probe_that_is_answered_closes_it_for_everybody(store: Store, host: Store) -> None:
    fail(store, times=5)
    store.let_pass(timedelta(seconds=31))
    assert host.claim()[0].is_probe
    was_open = answer(host)

    assert was_open is True
    assert row(store) == {"failures": 0, "trips": 0, "open_until": None}
    assert [claim.is_probe for claim in store.claim()] == [False] * 9


def test_what_fails_while_it_is_open_changes_nothing(store: Store) -> None:
    fail(store, times=5)
    before = row(store)

    assert fail(store, times=3) == [None] * 3
    assert row(store) == before


def test_resuming_closes_it(store: Store) -> None:
    fail(store, times=5)
    with store.database.write() as connection:
        targets.resume(connection, "crm")

    assert len(store.claim()) == 10


def test_what_is_told_of_a_target_that_is_gone_is_nothing(store: Store) -> None:
    with store.database.write() as connection:
        assert pacing.failed(connection, 0, was_probe=True) is None
        assert pacing.answered(connection, 0) is False
        pacing.correct(connection, 0, SLOW, -1)
    assert row(store) == {"failures": 0, "trips": 0, "open_until": None}


@pytest.mark.parametrize("rate", [None, SLOW])
def test_who_looks_is_told_what_a_claim_would_find(store: Store, host: Store, rate: Rate | None) -> None:
    for change in ({}, {"not_before": HOUR}, {"open_until": HOUR}, {"tat": HOUR}, {"state": "paused"}):
        now = clock.now()
        values: dict[str, Any] = {
            name: now + value if isinstance(value, timedelta) else value for name, value in change.items()
        }
        store.change("targets", **{"not_before": None, "open_until": None, "tat": None, "state": "live"} | values)
        found, claims = wait(host, limit=5, rate=rate), store.claim(limit=5, rate=rate)
        store.expire_leases()

        assert (found == timedelta()) == bool(claims), change
        assert (found is None) == (change == {"state": "paused"})


def test_a_settle_that_tells_nothing_new_leaves_the_targets_row_alone(store: Store) -> None:
    written: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *given: written.append(given[2].lstrip()))
    crm = MemoryAdapter()
    once(store, crm, batch=3)
    crm.refused["c3"] = fault(Kind.DATA)
    once(store, crm, batch=3)
    quiet = [statement for statement in written if statement.startswith("UPDATE targets")]
    once(store, crm, batch=3, rate=5)

    assert quiet == []
    assert sum(statement.startswith("UPDATE targets") for statement in written) == 1


def test_hosts_that_claim_at_the_same_moment_share_the_permits_and_one_of_them_probes(
    store: Store, migrated_url: str
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        hosts = [stack.enter_context(opened_store(migrated_url)) for _ in range(4)]
        for _ in range(10):
            barrier = Barrier(4)

            def claim(host: Store, barrier: Barrier = barrier, rate: Rate | None = None) -> list[Claim]:
                barrier.wait(30)
                return host.claim(limit=2, rate=rate)

            store.change("targets", tat=None)
            claimed = sum(map(len, pool.map(partial(claim, rate=SLOW), hosts)))
            store.change("deliveries", lease_until=None, claim_token=None)
            store.change("targets", failures=5, trips=1, open_until=clock.now() - SECOND)
            tries = [found for found in pool.map(claim, hosts) if found]
            store.change("deliveries", lease_until=None, claim_token=None)
            store.change("targets", failures=0, trips=0, open_until=None)

            assert claimed in (4, 5)
            assert [len(found) for found in tries] == [1]


def test_hosts_that_claim_and_give_back_in_any_order_keep_the_rate_together(store: Store, host: Store) -> None:
    seed = random.randrange(10**9)
    dice, rate, since = random.Random(seed), Rate(per_second=0.1, burst=4), clock.monotonic()
    passed, sent = 0.0, [(0.0, 0)]
    for _ in range(30):
        worker = dice.choice([store, host])
        claims = worker.claim(limit=dice.randint(1, 5), rate=rate)
        unsent = claims[: dice.randint(0, len(claims))]
        if unsent:
            give_back(dice.choice([store, host]), unsent, rate)
        store.change("deliveries", lease_until=None, claim_token=None)
        sent.append((passed + clock.monotonic() - since, len(claims) - len(unsent)))
        seconds = dice.choice([0, 3, 10, 25])
        store.let_pass(seconds * SECOND)
        passed += seconds

    for first, (began, _) in enumerate(sent):
        for last in range(first, len(sent)):
            records = sum(many for _, many in sent[first : last + 1])
            assert records <= rate.burst + (sent[last][0] - began) * rate.per_second + 0.001, f"seed {seed}"
    assert sum(many for _, many in sent) > rate.burst, f"seed {seed}"
