"""The worker on a real database and a CRM in memory: what each answer of the CRM means for the row and the target."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from crm_sync import clock
from crm_sync.adapters.contract import Outcome
from crm_sync.adapters.memory import Failing, MemoryAdapter, Stored
from crm_sync.errors import Kind
from crm_sync.retry import SCHEDULE
from tests.integration.builders import CONVERSATION, Store, ended, opened_store, started, wrapped_up
from tests.integration.delivering import due_now, fault, last_attempt, once
from tests.integration.fakes import NotingAdapter


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as opened:
        yield opened


@pytest.fixture
def crm() -> MemoryAdapter:
    """The CRM."""
    return MemoryAdapter()


def test_what_is_owed_is_pushed_and_settled(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended(), wrapped_up())
    found = once(store, crm)
    closure, row = store.row("closures"), store.delivery()

    assert found == 1
    assert crm.records[CONVERSATION].version == closure.version
    assert crm.records[CONVERSATION].fields["resolution"] == "resolved"
    assert (row.state, row.delivered_version, row.crm_record_id) == ("delivered", closure.version, CONVERSATION)
    assert last_attempt(store) == ("created", None, None, None)
    assert once(store, crm) == 0


def test_the_mapping_of_the_target_decides_what_the_crm_holds(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended())
    once(store, crm, fields={"Status__c": {"from": "closed", "map": {"true": "Closed"}}, "Origin": {"constant": "G"}})

    assert crm.records[CONVERSATION].fields == {"Status__c": "Closed", "Origin": "G"}


def test_a_batch_is_no_larger_than_the_settings_and_the_crm_allow(store: Store, crm: MemoryAdapter) -> None:
    store.record(*(ended(f"c{number}") for number in range(5)))
    crm.capabilities = replace(crm.capabilities, max_batch=3)

    assert [once(store, crm, batch=2), once(store, crm, batch=100), once(store, crm)] == [2, 3, 0]


def test_ten_updates_while_nobody_looked_are_one_push(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended())
    for at in range(10):
        store.record(wrapped_up(at=200 + at, wrapupNotes=f"note {at}"))
    once(store, crm)

    assert [effect.version for effect in crm.effects] == [store.row("closures").version]
    assert crm.records[CONVERSATION].fields["wrapup_notes"] == "note 9"


def test_a_reopening_is_pushed_as_not_closed(store: Store) -> None:
    crm = NotingAdapter()
    store.record(ended())
    once(store, crm)
    store.record(started(at=200, session="second"))
    once(store, crm)

    assert crm.records[CONVERSATION].fields["closed"] is False
    assert [effect.outcome for effect in crm.effects] == [Outcome.CREATED, Outcome.UPDATED]
    assert [(push.closed, push.known_id) for push in crm.pushes] == [(True, None), (False, CONVERSATION)]
    assert {push.occurred_at for push in crm.pushes} == {store.row("closures").ended_at}


def test_a_payload_that_the_crm_has_already_is_not_sent_again(store: Store, crm: MemoryAdapter) -> None:
    fields = {"Ended": "ended_at", "Version": "version"}
    store.record(ended())
    once(store, crm, fields=fields)
    store.record(wrapped_up())
    once(store, crm, fields=fields)
    row = store.delivery()

    assert len(crm.effects) == 1
    assert (row.state, row.delivered_version) == ("delivered", store.row("closures").version)
    assert last_attempt(store)[0] == "unchanged"


@pytest.mark.parametrize("why", ["it is asked for", "a worker died meanwhile", "the last push failed"])
def test_a_payload_that_the_crm_may_not_have_is_sent_again(store: Store, crm: MemoryAdapter, why: str) -> None:
    fields = {"Ended": "ended_at"}
    store.record(ended())
    once(store, crm, fields=fields)
    crm.records.clear()
    match why:
        case "it is asked for":
            store.change("deliveries", state="pending", push_again=True, redelivery=1)
        case "a worker died meanwhile":
            store.change("deliveries", state="pending")
            assert store.claim()
            store.expire_leases()
        case _:
            crm.script.append(Failing(fault=fault(Kind.AMBIGUOUS)))
            store.change("deliveries", state="pending", push_again=True)
            once(store, crm, fields=fields)
            due_now(store)
    once(store, crm, fields=fields)

    assert CONVERSATION in crm.records
    assert store.delivery().state == "delivered"


def test_a_forced_push_has_a_key_of_its_own(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended())
    once(store, crm)
    store.change("deliveries", state="pending", push_again=True, redelivery=3)
    once(store, crm)
    first, second = (attempt.push_key for attempt in store.rows("delivery_attempts"))

    assert second == f"{first}.r3"
    assert first.startswith(f"{CONVERSATION}.{store.row('closures').version}.")


@pytest.mark.parametrize("kind", [Kind.RETRYABLE, Kind.AMBIGUOUS, Kind.CONFLICT])
@pytest.mark.parametrize("is_raised", [True, False], ids=["raised", "in the receipt"])
def test_trouble_that_may_pass_is_tried_again_by_the_schedule(
    store: Store, crm: MemoryAdapter, kind: Kind, is_raised: bool
) -> None:
    store.record(ended())
    if is_raised:
        crm.script.append(Failing(fault=fault(kind)))
    else:
        crm.refused[CONVERSATION] = fault(kind)
    once(store, crm)
    row, target = store.delivery(), store.row("targets")

    assert (row.state, row.attempts, row.last_error, row.payload_hash) == ("pending", 1, "It failed.", None)
    assert row.due_at <= clock.now() + SCHEDULE[0]
    assert last_attempt(store) == ("failed", str(kind), "some_code", "It failed.")
    assert (target.state, target.not_before) == ("live", None)


def test_trouble_that_does_not_pass_is_dead_in_the_end(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended())
    crm.refused[CONVERSATION] = fault(Kind.RETRYABLE)
    for _ in range(len(SCHEDULE) + 1):
        due_now(store)
        assert once(store, crm) == 1

    assert store.delivery().state == "dead"
    assert len(store.rows("delivery_attempts")) == len(SCHEDULE) + 1


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.GONE])
def test_a_record_that_the_crm_refuses_is_dead_and_harms_no_other(store: Store, crm: MemoryAdapter, kind: Kind) -> None:
    store.record(ended("good"), ended("bad"))
    crm.refused["bad"] = fault(kind, field="Status__c")
    once(store, crm)

    assert (store.delivery("good").state, store.delivery("bad").state) == ("delivered", "dead")
    assert store.delivery("bad").last_error == "Status__c: It failed."
    assert store.row("targets").state == "live"


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.CONFIG])
def test_what_a_person_must_mend_pauses_the_target_and_kills_nothing(
    store: Store, crm: MemoryAdapter, kind: Kind
) -> None:
    store.record(ended("a"), ended("b"))
    crm.script.append(Failing(fault=fault(kind)))
    once(store, crm)
    target = store.row("targets")

    assert (target.state, target.paused_reason) == ("paused", "It failed.")
    assert target.paused_at is not None
    assert [(row.state, row.attempts) for row in store.rows("deliveries")] == [("pending", 0)] * 2
    assert once(store, crm) == 0


def test_a_crm_whose_whole_endpoint_is_gone_pauses_the_target_and_kills_nothing(
    store: Store, crm: MemoryAdapter
) -> None:
    store.record(ended())
    crm.script.append(Failing(fault=fault(Kind.GONE)))
    once(store, crm)

    assert (store.row("targets").state, store.delivery().state, store.delivery().attempts) == ("paused", "pending", 0)


def test_a_reopening_is_told_though_no_mapped_field_has_changed(store: Store, crm: MemoryAdapter) -> None:
    resolution_only = {"fields": {"Resolution": "resolution"}}
    store.record(ended())
    once(store, crm, **resolution_only)
    store.record(started(at=200, session="second"))
    once(store, crm, **resolution_only)

    assert [attempt.outcome for attempt in store.rows("delivery_attempts")] == ["created", "updated"]


def test_what_a_crm_skipped_is_pushed_again_with_the_next_version(store: Store, crm: MemoryAdapter) -> None:
    """It holds something newer, of which we know nothing: not that it equals ours."""
    store.record(ended())
    crm.records[CONVERSATION] = Stored(version=2**50, fields={})
    once(store, crm)

    assert store.delivery().state == "delivered"
    assert store.delivery().payload_hash is None


@pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.QUOTA])
def test_a_busy_crm_is_left_alone_until_it_may_be_asked_again(store: Store, crm: MemoryAdapter, kind: Kind) -> None:
    retry_at = clock.now().replace(microsecond=0) + timedelta(minutes=5)
    store.record(ended("a"))
    crm.script.append(Failing(fault=fault(kind, retry_at=retry_at)))
    once(store, crm)
    store.record(ended("b"))

    assert abs(store.row("targets").not_before - retry_at) < timedelta(seconds=30)
    assert store.row("targets").state == "live"
    assert (store.delivery("a").state, store.delivery("a").attempts) == ("pending", 0)
    assert once(store, crm) == 0

    store.change("targets", not_before=None)

    assert once(store, crm) == 2  # The target was waiting, not the deliveries.


def test_a_crm_that_stored_what_it_did_not_answer_holds_it_once(store: Store, crm: MemoryAdapter) -> None:
    store.record(ended())
    crm.script.append(Failing(fault=fault(Kind.AMBIGUOUS), is_stored=True))
    once(store, crm)
    due_now(store)
    once(store, crm)

    assert len(crm.effects) == 1
    assert store.delivery().state == "delivered"
    assert [attempt.outcome for attempt in store.rows("delivery_attempts")] == ["failed", "unchanged"]
    assert len({attempt.push_key for attempt in store.rows("delivery_attempts")}) == 1


def test_a_crm_that_holds_something_newer_is_left_as_it_is_and_the_debt_is_paid(
    store: Store, crm: MemoryAdapter
) -> None:
    store.record(ended())
    once(store, crm)
    crm.records[CONVERSATION] = newer = replace(crm.records[CONVERSATION], version=2**52)
    store.record(wrapped_up())
    once(store, crm)

    assert crm.records[CONVERSATION] == newer
    assert (store.delivery().state, last_attempt(store)[0]) == ("delivered", "skipped")
