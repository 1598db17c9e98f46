"""The law of the door out: no order of events, claims, deaths and late settles loses a delivery.

Workers are simulated as they may really behave: one may die before its push or right after it, and one may be so slow
that its lease runs out, others push and settle meanwhile, and what it sends lands in the CRM after theirs. The CRM
applies whatever comes, older versions too, but each push key only once.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crm_sync.adapters import mapping
from crm_sync.store import outbox
from crm_sync.store.outbox import Claim
from tests.integration.builders import Store, ended, opened_store, paid, settlement, started, wrapped_up

GAMES = 150
STEPS = 40


class ForgetfulCRM:
    """Holds what was applied last, and knows which pushes it has seen. It compares no versions."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.seen: set[str] = set()

    def apply(self, claim: Claim) -> None:
        """Apply a push, unless it is a repetition."""
        key = push_key(claim)
        if key not in self.seen:
            self.seen.add(key)
            self.held[claim.closure.conversation_id] = content(claim)


class Game:
    """One random order of what can happen to the deliveries of one or two conversations."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.dice = random.Random(seed)
        self.crm = ForgetfulCRM()
        self.conversations = [f"{seed}-{number}" for number in range(self.dice.choice([1, 1, 2]))]
        self.at = 100
        self.closed: set[str] = set()
        self.holding: list[Claim] = []
        """Claims of workers that live and have not pushed yet."""
        self.sent: list[Claim] = []
        """Claims of workers that live, have pushed and have not settled yet."""
        self.history: list[str] = []

    def play(self) -> None:
        """Make so many moves, then let everybody finish, and compare."""
        moves: dict[Callable[[], None], int] = {
            self.record: 6, self.claim: 8, self.expire: 4, self.push: 8, self.settle: 8, self.die: 1,
            self.die_after_the_push: 1, self.give_back: 1, self.redeliver: 1, self.beat: 4, self.forsake: 1,
        }  # fmt: skip
        for move in self.dice.choices(list(moves), list(moves.values()), k=STEPS):
            self.history.append(move.__name__)
            move()
        self.finish()
        self.check()

    def record(self) -> None:
        """An event comes: an end, a reopening, a wrap-up. Versions often look like older ones."""
        conversation, kind = self.dice.choice(self.conversations), self.dice.choice([ended, ended, started, wrapped_up])
        self.at += 1
        if kind is ended:
            self.closed.add(conversation)
        known = {"wrapupNotes": self.dice.choice(["yes", "no"])} if kind is wrapped_up else {}
        self.store.record(kind(conversation, at=self.at, **known))

    def claim(self) -> None:
        """A worker claims, and settles at once what needs no push."""
        for claim in self.store.claim(limit=self.dice.randint(1, 2)):
            if needs_push(claim):
                self.holding.append(claim)
            else:
                self.settle_as_paid(claim, sent=False)

    def expire(self) -> None:
        """All leases run out: whoever holds one was too slow."""
        self.store.expire_leases()

    def push(self) -> None:
        """A worker pushes, perhaps long after its lease; it has not settled yet."""
        if self.holding:
            claim = self.drawn(self.holding)
            self.crm.apply(claim)
            self.sent.append(claim)

    def settle(self) -> None:
        """A worker settles, perhaps too late: the CRM answered well, refused, or its answer was lost."""
        if not self.sent:
            return
        claim = self.drawn(self.sent)
        if self.dice.random() < 0.75:
            self.settle_as_paid(claim, sent=True)
        else:
            self.store.settle(settlement(claim, push_key=push_key(claim)))

    def die(self) -> None:
        """A worker dies with its claim."""
        if self.holding:
            self.drawn(self.holding)

    def die_after_the_push(self) -> None:
        """A worker pushes in time and dies. (One that does so too late is found by reconciling, not here.)"""
        in_time = [claim for claim in self.holding if self.is_in_time(claim)]
        if in_time:
            self.holding.remove(in_time[0])
            self.crm.apply(in_time[0])

    def give_back(self) -> None:
        """A worker has no time left for its push."""
        if self.holding:
            with self.store.database.write() as connection:
                outbox.settle(connection, [], [self.drawn(self.holding)])

    def beat(self) -> None:
        """A heart beats: what is still its worker's stays so for another lease, what is another's stays that one's."""
        claims = [*self.holding, *self.sent]
        tokens = {claim.token for claim in claims}
        with self.store.database.write() as connection:
            ours = outbox.extend(connection, claims, lease_seconds=60)
        assert ours == tokens - {claim.token for claim in claims if not self.is_in_time(claim)}

    def forsake(self) -> None:
        """A push does not come back, and its worker gives it up. It may land and be settled all the same."""
        with self.store.database.write() as connection:
            outbox.forsake(connection, self.holding[:1])

    def redeliver(self) -> None:
        """Somebody has emptied the CRM's record and asks for it once more."""
        conversation = self.dice.choice(self.conversations)
        if self.store.rows("deliveries", conversation_id=conversation):
            self.crm.held.pop(conversation, None)
            self.store.change(
                "deliveries", where={"conversation_id": conversation}, state="pending", push_again=True,
                redelivery="sql:redelivery + 1",
            )  # fmt: skip

    def finish(self) -> None:
        """Let the workers that live push and settle, and a healthy one do the rest."""
        self.history.append("finish")
        for claim in self.holding:
            self.crm.apply(claim)
        for claim in [*self.sent, *self.holding]:
            self.settle_as_paid(claim, sent=True)
        for _ in range(20):
            self.store.expire_leases()
            claims = self.store.claim()
            for claim in claims:
                if needs_push(claim):
                    self.crm.apply(claim)
                self.settle_as_paid(claim, sent=needs_push(claim))
            if not claims:
                return
        raise AssertionError("the deliveries never end")

    def check(self) -> None:
        """Compare the CRM and the rows with the newest versions."""
        for conversation in self.conversations:
            rows = self.store.rows("deliveries", conversation_id=conversation)
            assert len(rows) == (conversation in self.closed)
            for row in rows:
                closure = self.store.row("closures", conversation_id=conversation)
                assert (row.state, row.claim_token, row.lease_until) == ("delivered", None, None)
                assert row.delivered_version == closure.version
                assert self.crm.held[conversation] == {"closed": closure.closed, "notes": closure.wrapup_notes}

    def drawn(self, claims: list[Claim]) -> Claim:
        """Take one of these."""
        return claims.pop(self.dice.randrange(len(claims)))

    def is_in_time(self, claim: Claim) -> bool:
        """Whether nobody has claimed it since."""
        return self.store.row("deliveries", id=claim.delivery_id).claim_token == claim.token

    def settle_as_paid(self, claim: Claim, *, sent: bool) -> None:
        """Settle a push that succeeded, or that was not needed."""
        payload = mapping.payload_hash(content(claim))
        self.store.settle(paid(claim, sent=sent, push_key=push_key(claim), payload_hash=payload))


def content(claim: Claim) -> dict[str, Any]:
    """Return what is pushed."""
    return {"closed": claim.closure.closed, "notes": claim.closure.wrapup_notes}


def needs_push(claim: Claim) -> bool:
    """Decide as the worker does."""
    return claim.push_again or claim.payload_hash != mapping.payload_hash(content(claim))


def push_key(claim: Claim) -> str:
    """Return the name of a push."""
    payload = mapping.payload_hash(content(claim))
    return mapping.push_key(claim.closure.conversation_id, claim.version, payload, redelivery=claim.redelivery)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`."""
    with opened_store(migrated_url) as opened:
        yield opened


@pytest.mark.timeout(600)
@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_no_order_of_events_claims_deaths_and_late_settles_loses_a_delivery(store: Store) -> None:
    first = random.randrange(10**9)
    for seed in range(first, first + GAMES):
        game = Game(store, seed)
        try:
            game.play()
        except Exception:
            print(f"seed {seed}: {', '.join(game.history)}")
            raise
