"""The worker among batches that are refused, adapters with defects, and records that kill: each harms only itself."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from crm_sync import clock, deliver
from crm_sync.adapters.contract import Outcome, Receipt
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import Kind
from crm_sync.settings_targets import TargetSettings
from tests.integration.builders import Store, ended, opened_store
from tests.integration.delivering import fault, lane, last_attempt, once
from tests.integration.fakes import REFUSED, AtomicAdapter, BrokenAdapter, CrookedAdapter


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as opened:
        yield opened


@pytest.fixture
def crm() -> MemoryAdapter:
    """The CRM."""
    return MemoryAdapter()


def test_only_the_culprit_of_an_atomic_batch_dies(store: Store) -> None:
    crm = AtomicAdapter()
    store.record(*(ended(f"c{number}") for number in range(8)))
    crm.refused["c5"] = REFUSED
    once(store, crm)
    states = {row.conversation_id: (row.state, row.attempts) for row in store.rows("deliveries")}

    assert states.pop("c5") == ("dead", 1)
    assert set(states.values()) == {("delivered", 0)}
    assert len(crm.effects) == 7
    assert max(crm.sizes) == 8
    assert len(crm.sizes) <= 7


def test_an_atomic_batch_of_culprits_is_dead(store: Store) -> None:
    crm = AtomicAdapter()
    store.record(*(ended(f"c{number}") for number in range(4)))
    crm.refused = {f"c{number}": REFUSED for number in range(4)}
    once(store, crm)

    assert {row.state for row in store.rows("deliveries")} == {"dead"}


@pytest.mark.parametrize(
    "receipts",
    [
        lambda receipts: receipts[:-1],
        lambda receipts: receipts[::-1],
        lambda receipts: [*receipts, receipts[0]],
        lambda receipts: [replace(receipt, push_key="another") for receipt in receipts],
        lambda receipts: [replace(receipt, outcome=Outcome.FAILED) for receipt in receipts],
        lambda receipts: [replace(receipt, fault=REFUSED) for receipt in receipts],
        lambda receipts: [None for _ in receipts],
        lambda receipts: None,
    ],
    ids=["too few", "another order", "too many", "other keys", "no fault", "a needless fault", "none", "nothing"],
)
def test_receipts_that_do_not_match_are_a_defect_and_lose_nothing(store: Store, receipts: object) -> None:
    store.record(ended("a"), ended("b"))
    once(store, CrookedAdapter(receipts))  # type: ignore[arg-type]  # that is the point

    assert [(row.state, row.attempts) for row in store.rows("deliveries")] == [("pending", 1)] * 2
    assert last_attempt(store)[:2] == ("failed", "retryable")
    assert store.row("targets").state == "live"


def test_a_bug_in_an_adapter_is_tried_again_by_the_schedule(store: Store) -> None:
    store.record(ended("a"))

    def burst(_: list[Receipt]) -> object:
        raise ZeroDivisionError("with the customer's words in it")

    once(store, CrookedAdapter(burst))

    assert (store.delivery("a").state, store.delivery("a").attempts) == ("pending", 1)
    assert last_attempt(store)[2] == "ZeroDivisionError"
    assert "customer" not in (store.delivery("a").last_error or "")


def test_a_bug_that_one_record_meets_before_it_is_sent_harms_no_other(store: Store) -> None:
    crm = BrokenAdapter()
    store.record(ended("broken"), ended("good"))
    once(store, crm)
    broken = store.delivery("broken")

    assert store.delivery("good").state == "delivered"
    assert (broken.state, broken.attempts, broken.lease_until) == ("pending", 1, None)


@pytest.mark.parametrize("odd", ["nul \0 within", "half \ud800 a pair", "long " * 1_000])
def test_an_answer_that_no_database_could_keep_is_settled_all_the_same(store: Store, odd: str) -> None:
    told = fault(Kind.DATA, code=odd, message=odd, vendor_request_id=odd, field=odd)
    store.record(ended("good"), ended("bad"))
    once(
        store,
        CrookedAdapter(
            lambda receipts: [
                replace(receipts[0], record_id=odd, url=odd),
                replace(receipts[1], outcome=Outcome.FAILED, fault=told),
            ]
        ),
    )

    assert sorted(row.state for row in store.rows("deliveries")) == ["dead", "delivered"]
    assert store.count("delivery_attempts") == 2


def test_what_took_its_worker_down_is_dead_without_another_try(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended("poison"))
    for _ in range(4):
        assert store.claim()
        store.expire_leases()
    store.record(ended("good"))
    found = [once(store, crm), once(store, crm)]

    assert found == [1, 1]
    assert (store.delivery("poison").state, store.delivery("good").state) == ("dead", "delivered")
    assert "poison" not in crm.records
    assert [a.code for a in store.rows("delivery_attempts") if a.outcome == "failed"] == ["took_its_worker_down"]


def test_a_claim_that_leaves_no_time_for_a_push_is_given_back_unsent(
    store: Store, crm: MemoryAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record(ended())
    at = itertools.chain([0.0], itertools.repeat(41.0))
    monkeypatch.setattr(clock, "monotonic", lambda: next(at))
    deliver.deliver_once(lane(store, crm, TargetSettings(adapter="memory")), store.database)
    row = store.delivery()

    assert crm.effects == []
    assert (row.state, row.attempts, row.lease_until, row.claim_token) == ("pending", 0, None, None)
