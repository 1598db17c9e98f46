"""The one door out: who may claim what, for how long, and what a settle writes."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.store import outbox, pacing, targets
from crm_sync.store.outbox import LOSSES_ALONE, Claim
from tests.integration.builders import CONVERSATION, Store, ended, opened_store, paid, settlement, started, wrapped_up

NOW = clock.now().replace(microsecond=0)
LATER = NOW + timedelta(hours=1)
HOUR = timedelta(hours=1)
HASH = "b" * 64


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the targets `crm` and `other`."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        yield opened


def owe(store: Store, *conversations: str) -> None:
    """Owe these conversations, the first having been due the longest."""
    for place, conversation in reversed(list(enumerate(conversations))):
        store.record(ended(conversation))
        due_at = NOW - timedelta(minutes=len(conversations) - place)
        store.change("deliveries", where={"conversation_id": conversation}, due_at=due_at)


def names(claims: list[Claim]) -> list[str]:
    """Return the conversations of these claims."""
    return [claim.closure.conversation_id for claim in claims]


def claim_one(store: Store) -> Claim:
    """Claim the one delivery that is due."""
    (claim,) = store.claim()
    return claim


def lose(store: Store, times: int) -> None:
    """Let a worker claim and die, so many times."""
    for _ in range(times):
        assert store.claim()
        store.expire_leases()


def is_due(store: Store) -> bool:
    """Ask whether a claim may find something."""
    with store.database.read() as connection:
        return outbox.wait(connection, store.target_id, limit=1) == timedelta()


def is_an_hour(wait: timedelta) -> bool:
    """Tell whether this is an hour; the two instants of a row are a moment apart."""
    return abs(wait - HOUR) < timedelta(minutes=1)


def test_what_is_due_is_claimed_the_longest_due_first(store: Store) -> None:
    owe(store, "c", "a", "b", "not yet")
    store.change("deliveries", where={"conversation_id": "not yet"}, due_at=LATER)

    assert names(store.claim(limit=2)) == ["c", "a"]
    assert names(store.claim(limit=2)) == ["b"]
    assert store.claim() == []


def test_a_claim_carries_the_newest_closure(store: Store) -> None:
    store.record(ended())
    store.record(wrapped_up())
    claim = claim_one(store)

    assert (claim.closure.wrapup_notes, claim.closure.queue_ids) == ("refund issued", ("queue-1",))
    assert claim.version == store.row("closures").version == store.delivery().desired_version
    assert (claim.attempts, claim.lost_leases, claim.push_again, claim.redelivery) == (1, 0, False, 0)


def test_a_target_is_given_only_its_own(store: Store) -> None:
    owe(store, "a")
    (mine,), (theirs,) = store.claim(), store.claim(target="other")

    assert mine.delivery_id != theirs.delivery_id
    assert mine.token != theirs.token


def test_what_is_claimed_or_settled_is_not_due(store: Store) -> None:
    empty = is_due(store)
    owe(store, "a")
    owed = is_due(store)
    claim = claim_one(store)
    claimed = is_due(store)
    store.settle(paid(claim))

    assert (empty, owed, claimed, is_due(store)) == (False, True, False, False)
    assert store.claim() == []


@pytest.mark.parametrize("state", ["paused", "retired"])
def test_a_target_that_is_not_live_is_not_pushed_to(store: Store, state: str) -> None:
    owe(store, "a")
    store.change("targets", where={"name": "crm"}, state=state)

    assert store.claim() == []
    assert names(store.claim(target="other")) == ["a"]


def test_a_paused_target_is_pushed_to_once_it_is_resumed(store: Store) -> None:
    owe(store, "a")
    with store.database.write() as connection:
        targets.pause(connection, "crm", "somebody must look")
        pacing.rest(connection, store.target_id, timedelta(hours=1))
    paused = store.claim()
    with store.database.write() as connection:
        targets.resume(connection, "crm")

    assert paused == []
    assert names(store.claim()) == ["a"]


def test_a_target_is_not_pushed_to_before_its_crm_allows(store: Store) -> None:
    owe(store, "a")
    store.change("targets", where={"name": "crm"}, not_before=LATER)
    held = store.claim()
    store.change("targets", where={"name": "crm"}, not_before=NOW - timedelta(seconds=1))

    assert held == []
    assert names(store.claim()) == ["a"]


def test_a_lease_lasts_by_the_clock_of_the_database(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    owe(store, "a")
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=365))
    store.claim(lease_seconds=60)
    lease = store.delivery("a").lease_until

    assert now < lease < now + timedelta(minutes=10)
    assert store.claim() == []


def test_a_lease_that_has_run_out_is_claimed_by_another_and_counted_as_lost(store: Store) -> None:
    owe(store, "a")
    first = claim_one(store)
    store.expire_leases()
    second = claim_one(store)

    assert (second.delivery_id, second.lost_leases, second.attempts) == (first.delivery_id, 1, 2)
    assert second.token != first.token


def test_what_has_lost_a_lease_is_claimed_alone_and_keeps_nobody_waiting(store: Store) -> None:
    owe(store, "a", "b", "c")
    store.claim(limit=1)
    store.expire_leases()

    assert names(store.claim()) == ["a"]
    assert names(store.claim()) == ["b", "c"]


def test_what_has_lost_a_lease_and_is_not_the_first_is_left_for_a_claim_of_its_own(store: Store) -> None:
    owe(store, "a", "b", "c")
    store.change("deliveries", where={"conversation_id": "b"}, lost_leases=1)

    assert names(store.claim()) == ["a", "c"]
    assert names(store.claim()) == ["b"]


def test_it_is_taken_for_what_kills_its_worker_after_three_losses_alone(store: Store) -> None:
    owe(store, "a")
    lose(store, 1)
    seen = []
    for _ in range(LOSSES_ALONE + 1):
        seen.append(claim_one(store).took_its_worker_down)
        store.expire_leases()

    assert LOSSES_ALONE == 3
    assert seen == [False, False, False, True]


def test_a_settle_that_succeeded_pays_the_debt(store: Store) -> None:
    owe(store, "a")
    store.change("deliveries", lost_leases=2, attempts=5, last_error="It failed.")
    claim = claim_one(store)
    late = store.settle(paid(claim, payload_hash=HASH, record_id="record-1", url="https://crm.example/1"))
    row = store.delivery("a")

    assert late == []
    assert (row.state, row.delivered_version, row.payload_hash) == ("delivered", claim.version, HASH)
    assert (row.attempts, row.lost_leases, row.last_error) == (0, 0, None)
    assert (row.lease_until, row.claim_token) == (None, None)
    assert (row.crm_record_id, row.crm_url) == ("record-1", "https://crm.example/1")
    assert row.delivered_at is not None


def test_a_settle_that_failed_keeps_the_debt_until_it_is_due_again(store: Store) -> None:
    owe(store, "a")
    store.settle(paid(claim_one(store), payload_hash=HASH, record_id="record-1", url="https://crm.example/1"))
    delivered = store.delivery("a")
    store.record(wrapped_up("a"))
    store.settle(settlement(claim_one(store), wait=HOUR, message="It failed.", kind="retryable", code="http_503"))
    row = store.delivery("a")

    assert (row.state, row.attempts, row.last_error) == ("pending", 1, "It failed.")
    assert is_an_hour(row.due_at - row.updated_at)
    assert (row.lease_until, row.claim_token) == (None, None)
    assert row.payload_hash is None, "nobody knows what the CRM holds now"
    assert (row.delivered_version, row.delivered_at) == (delivered.delivered_version, delivered.delivered_at)
    assert (row.crm_record_id, row.crm_url) == ("record-1", "https://crm.example/1")


def test_an_attempt_that_does_not_count_is_given_back(store: Store) -> None:
    owe(store, "a")
    store.settle(settlement(claim_one(store), wait=HOUR, attempt_given_back=True))

    assert store.delivery("a").attempts == 0


def test_what_is_dead_is_not_claimed_again(store: Store) -> None:
    owe(store, "a")
    store.settle(settlement(claim_one(store), state="dead", message="The CRM refuses it."))

    assert (store.delivery("a").state, store.delivery("a").last_error) == ("dead", "The CRM refuses it.")
    assert store.claim() == []


def test_each_settlement_leaves_an_attempt_for_the_audit(store: Store) -> None:
    owe(store, "a")
    at = {"started_at": NOW, "finished_at": NOW + timedelta(seconds=2)}
    failed = {"kind": "rate_limited", "code": "http_429", "message": "Slow down.", "vendor_request_id": "r-1"}
    first = claim_one(store)
    store.settle(settlement(first, **at | failed, push_key="key-1"))
    store.settle(paid(claim_one(store), **at, push_key="key-2", outcome="updated"))
    attempts = [row._asdict() for row in store.rows("delivery_attempts")]

    common: dict[str, Any] = {"delivery_id": first.delivery_id, "version": first.version, **at}
    nothing = dict.fromkeys(failed)
    assert [{name: value for name, value in attempt.items() if name != "id"} for attempt in attempts] == [
        common | failed | {"push_key": "key-1", "outcome": "failed"},
        common | nothing | {"push_key": "key-2", "outcome": "updated"},
    ]


@pytest.mark.parametrize("state", ["delivered", "dead"])
def test_a_version_that_came_during_the_push_is_owed_at_once(store: Store, state: str) -> None:
    owe(store, "a")
    claim = claim_one(store)
    store.record(wrapped_up("a"))
    store.settle(settlement(claim, state=state, wait=HOUR))
    row = store.delivery("a")
    again = claim_one(store)

    assert (row.state, row.attempts, row.lost_leases) == ("pending", 0, 0)
    assert row.delivered_version == (claim.version if state == "delivered" else None)
    assert again.version == store.row("closures").version > claim.version


def test_a_version_that_came_during_a_push_that_failed_waits_with_it(store: Store) -> None:
    owe(store, "a")
    claim = claim_one(store)
    store.record(wrapped_up("a"))
    store.settle(settlement(claim, wait=HOUR))
    row = store.delivery("a")

    assert row.state == "pending"
    assert is_an_hour(row.due_at - row.updated_at)


def test_a_delivery_whose_worker_lived_to_settle_is_no_danger_to_workers(store: Store) -> None:
    owe(store, "a")
    store.change("deliveries", lost_leases=LOSSES_ALONE)
    store.settle(settlement(claim_one(store), message="The CRM is away."))

    assert store.delivery("a").lost_leases == 0


def test_a_late_settle_that_sent_nothing_writes_nothing(store: Store) -> None:
    owe(store, "a")
    slow = claim_one(store)
    store.expire_leases()
    holder = claim_one(store)
    before = store.delivery("a")

    assert store.settle(paid(slow, sent=False)) == [slow]
    assert store.delivery("a") == before
    assert store.count("delivery_attempts") == 0
    assert store.settle(paid(holder)) == []


def test_a_late_settle_that_did_send_makes_it_due_once_more_under_another_key(store: Store) -> None:
    owe(store, "a")
    slow = claim_one(store)
    store.expire_leases()
    store.settle(paid(claim_one(store), payload_hash=HASH))
    late = store.settle(paid(slow, payload_hash="c" * 64))
    row = store.delivery("a")
    again = claim_one(store)

    assert late == [slow]
    assert (row.state, row.push_again, row.redelivery, row.payload_hash) == ("pending", True, 1, HASH)
    assert (again.push_again, again.redelivery) == (True, 1)
    assert store.delivery("a").push_again is False


def test_a_late_settle_while_another_holds_the_claim_leaves_it_pending_when_that_one_settles(store: Store) -> None:
    owe(store, "a")
    slow = claim_one(store)
    store.expire_leases()
    holder = claim_one(store)
    store.settle(paid(slow))
    held = store.delivery("a")
    on_time = store.settle(paid(holder))

    assert held.claim_token == holder.token, "the late one takes the claim from nobody"
    assert on_time == []
    assert (store.delivery("a").state, store.delivery("a").push_again) == ("pending", True)
    assert claim_one(store).push_again is True


def test_a_settle_after_the_lease_but_before_another_claim_is_in_time(store: Store) -> None:
    owe(store, "a")
    claim = claim_one(store)
    store.expire_leases()

    assert store.settle(paid(claim)) == []
    assert store.delivery("a").state == "delivered"


def test_a_settle_of_many_tells_the_late_ones_from_the_others(store: Store) -> None:
    owe(store, "a", "b")
    first, second = store.claim()
    store.change("deliveries", where={"id": first.delivery_id}, claim_token="another's")

    assert store.settle(paid(second), paid(first)) == [first]
    assert (store.delivery("a").state, store.delivery("b").state) == ("pending", "delivered")


def test_a_settle_of_what_is_gone_is_late_and_harmless(store: Store) -> None:
    owe(store, "a")
    claim = claim_one(store)
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM deliveries")

    assert store.settle(paid(claim)) == [claim]


def test_a_worker_that_dies_leaves_the_crms_state_unknown_so_that_the_next_one_pushes(store: Store) -> None:
    owe(store, "a")
    store.settle(paid(claim_one(store), payload_hash=HASH))
    store.record(started("a", at=200, session="second"))
    claim = claim_one(store)
    lost_state = store.delivery("a").payload_hash
    store.expire_leases()

    assert claim.payload_hash == HASH
    assert lost_state is None
    assert claim_one(store).payload_hash is None


def test_a_release_leaves_everything_as_it_was_before_the_claim(store: Store) -> None:
    owe(store, "a", "b")
    store.change("deliveries", payload_hash=HASH, push_again=True, attempts=3)
    unchanged = ("state", "due_at", "attempts", "lost_leases", "payload_hash", "push_again", "redelivery",
                 "claim_token", "lease_until")  # fmt: skip
    before = [[getattr(row, name) for name in unchanged] for row in store.rows("deliveries")]
    claims = store.claim()
    with store.database.write() as connection:
        outbox.settle(connection, [], claims)
    after = [[getattr(row, name) for name in unchanged] for row in store.rows("deliveries")]

    assert [claim.payload_hash for claim in claims] == [HASH, HASH]
    assert after == before
    assert len(store.claim()) == 2


def test_a_release_that_comes_too_late_takes_the_claim_from_nobody(store: Store) -> None:
    owe(store, "a")
    slow = claim_one(store)
    store.expire_leases()
    holder = claim_one(store)
    with store.database.write() as connection:
        outbox.settle(connection, [], [slow])

    assert store.delivery("a").claim_token == holder.token


def test_the_instants_of_a_row_are_those_of_the_database(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(days=2))
    store.record(ended())
    store.settle(paid(claim_one(store)))
    row = store.delivery(CONVERSATION)
    instants: list[datetime] = [row.created_at, row.updated_at, row.delivered_at, row.due_at]

    assert all(instant < NOW + timedelta(days=1) for instant in instants)
