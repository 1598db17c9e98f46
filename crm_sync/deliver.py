"""STAGE 2: claim what is due to a target, push it with no transaction open, settle what came of it.

This is one lane's part; `worker` runs the lanes.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition, Event

import structlog
from sqlalchemy import Connection

from crm_sync import clock
from crm_sync.errors import Fault, Unavailable
from crm_sync.holds import GRACE_SECONDS, Hold, Holds
from crm_sync.metrics import PUSHES
from crm_sync.push import Channel, Pushed, push, sort_out
from crm_sync.retry import judge
from crm_sync.store import outbox, pacing
from crm_sync.store.engine import Database
from crm_sync.store.outbox import Settlement

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
MOST_CALLS = 16
"""Small batches that a lane claims at once, at most: what it takes down with it is claimed alone afterwards."""


class Bell:
    """What wakes the lanes of a target, one for each ring; a ring that nobody waits for is heard by the next to wait.

    One and not all: each wakes another when there was more than it could claim.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._has_rung = False

    def ring(self) -> None:
        """Wake one lane."""
        with self._condition:
            self._has_rung = True
            self._condition.notify()

    def wait(self, seconds: float) -> None:
        """Wait for a ring, but not for longer than this."""
        with self._condition:
            if not self._has_rung:
                self._condition.wait(seconds)
            self._has_rung = False


@dataclass(slots=True, kw_only=True)
class Lane:
    """One thread's part of the work on one target.

    `bell` is that of its target. `stop` ends it after the call that is under way. `batches` is how many batches it
    claims at once: more each time that there was more to claim, so that what is due to an idle target is spread over
    the lanes, and the backlog of a busy one costs few transactions.
    """

    target_id: int
    channel: Channel
    holds: Holds
    stop: Event
    bell: Bell = field(default_factory=Bell)
    worker: str = ""
    batches: int = 1
    hold: Hold | None = None
    is_replaced: bool = False

    @property
    def name(self) -> str:
        """The target's name."""
        return self.channel.name

    @property
    def has_ended(self) -> bool:
        """Whether no more is to be claimed and no more call to be made."""
        return self.is_replaced or self.stop.is_set()


def work(lane: Lane, database: Database) -> None:
    """Deliver until the lane is to end, and go on whatever happens: this loop is what pays the debts."""
    while not lane.has_ended:
        try:
            wait = look(lane, database)
            if not wait and not deliver_once(lane, database):
                wait = POLL_SECONDS
        except Unavailable as error:
            log.warning("database_unavailable", target=lane.name, reason=str(error), detail=error.detail)
            wait = POLL_SECONDS
        except Exception:
            log.exception("lane_failed", target=lane.name)
            wait = POLL_SECONDS
        if wait:
            lane.bell.wait(wait)
    lane.bell.ring()  # So that the next one learns of the end at once, too.


def look(lane: Lane, database: Database) -> float:
    """Return for how many seconds there is nothing to do, unless a commit wakes us; at most until the next poll."""
    with database.read() as connection:
        wait = outbox.wait(connection, lane.target_id, limit=lane.channel.batch, rate=lane.channel.settings.pace)
    return POLL_SECONDS if wait is None else min(wait.total_seconds(), POLL_SECONDS)


def deliver_once(lane: Lane, database: Database) -> int:
    """Claim, push and settle once; return how many deliveries were claimed."""
    room = lane.holds.room
    if not room.enter(lane, POLL_SECONDS):
        return 0
    try:
        hold = _claim(lane, database)
        if hold is not None and hold.claims[0].may_take_its_worker_down:
            hold = _claim_apart(lane, database, hold)
        if hold is None:
            return 0
        _settle(lane, database, hold, _push(lane, hold))
        return len(hold.claims)
    finally:
        room.leave(lane)


def _claim_apart(lane: Lane, database: Database, hold: Hold) -> Hold | None:
    """Give back what may take its worker down, and claim once more when no other lane has anything in its hands.

    With it in our hands we would wait for another such delivery, and lose it once more should that one be the culprit.
    """
    _settle(lane, database, hold, Pushed(unsent=list(hold.claims)))
    is_alone = lane.holds.room.be_alone(lane, lane.holds.settings.push_deadline_seconds + 2 * GRACE_SECONDS)
    return _claim(lane, database) if is_alone and not lane.has_ended else None


def _push(lane: Lane, hold: Hold) -> Pushed:
    lane.hold = hold
    try:
        with lane.holds.keep(hold):
            settled, entries = sort_out(lane.channel, hold.claims)
            pushed = push(lane.channel, entries, lambda: _may_call(lane, hold))
    finally:
        lane.hold = None
    pushed.settlements += settled
    return pushed


def _may_call(lane: Lane, hold: Hold) -> bool:
    return not lane.has_ended and not lane.holds.room.is_asked_to_leave(lane) and hold.may_call()


def _claim(lane: Lane, database: Database) -> Hold | None:
    worker = lane.holds.settings
    # The lease is counted from before the claim, so that we never believe in it for longer than the database does.
    ends_at = clock.monotonic() + worker.lease_seconds
    limit = max(lane.channel.batch, min(lane.channel.batch * lane.batches, MOST_CALLS))
    with database.write() as connection:
        claims = outbox.claim(
            connection,
            lane.target_id,
            limit=limit,
            batch=lane.channel.batch,
            lease_seconds=worker.lease_seconds,
            rate=lane.channel.settings.pace,
            worker=lane.worker,
        )
    if len(claims) < limit:
        lane.batches = 1
    else:
        lane.batches = min(lane.batches * 2, MOST_CALLS)
        lane.bell.ring()
    if not claims:
        return None
    if claims[0].is_probe:
        log.info("breaker_probes", target=lane.name, delivery_id=claims[0].delivery_id)
    return Hold(claims, ends_at=ends_at, push_seconds=worker.push_deadline_seconds)


def _settle(lane: Lane, database: Database, hold: Hold, pushed: Pushed) -> None:
    """Write what came of the claims. What cannot be written while the lease lasts is pushed again, under its key."""
    while True:
        try:
            with database.write() as connection:
                # The target before its deliveries: the lock order of `outbox`.
                _note(connection, lane, hold, pushed)
                late = outbox.settle(connection, pushed.settlements, pushed.unsent)
            break
        except Unavailable:
            if clock.monotonic() > hold.ends_at:
                raise
            time.sleep(random.random())
    _tell(lane, pushed.settlements)
    for claim in late:
        log.warning("settled_too_late", delivery_id=claim.delivery_id, target=lane.name)


def _tell(lane: Lane, settlements: Sequence[Settlement]) -> None:
    for settlement in settlements:
        PUSHES.labels(target=lane.name, outcome=settlement.outcome).inc()
        log.info(
            "delivery_settled",
            delivery_id=settlement.claim.delivery_id,
            target=lane.name,
            outcome=settlement.outcome,
            state=settlement.state,
            code=settlement.code,
        )


def _note(connection: Connection, lane: Lane, hold: Hold, pushed: Pushed) -> None:
    """Write down what the push tells of the target itself. Most have nothing to write here."""
    _hold_or_pause(connection, lane, pushed.faults)
    if pushed.is_answered and pacing.answered(connection, lane.target_id):
        log.info("breaker_closed", target=lane.name)
    if pushed.is_answered is None and hold.claims[0].is_probe:
        pacing.untried(connection, lane.target_id)
    if pushed.is_answered is False:
        note_failure(connection, lane, was_probe=hold.claims[0].is_probe)
    rate, unused = lane.channel.settings.pace, len(hold.claims) - pushed.sent
    if rate is not None and unused:
        pacing.correct(connection, lane.target_id, rate, -unused, age=hold.age)


def note_failure(connection: Connection, lane: Lane, *, was_probe: bool) -> None:
    """Count a call that was not answered well, which may open the breaker."""
    opened = pacing.failed(connection, lane.target_id, was_probe=was_probe)
    if opened is not None:
        log.warning("breaker_opened", target=lane.name, failures=opened.failures, trips=opened.trips,
                    seconds=opened.rest.total_seconds())  # fmt: skip


def _hold_or_pause(connection: Connection, lane: Lane, faults: Sequence[Fault]) -> None:
    """Let the target rest as its CRM asked, or until a person has looked."""
    now = clock.now()
    verdicts = [(fault, judge(fault, attempts=0, now=now, random=0.0)) for fault in faults]
    pausing = next((fault for fault, verdict in verdicts if verdict.pauses), None)
    rest = max((verdict.rest for _, verdict in verdicts if verdict.rest), default=None)
    if pausing is not None:
        log.error("target_paused", target=lane.name, code=pausing.code, reason=pausing.message)
        pacing.pause(connection, lane.target_id, pausing.message)
    elif rest is not None:
        log.warning("target_rests", target=lane.name, seconds=rest.total_seconds())
        pacing.rest(connection, lane.target_id, rest)
