"""STAGE 2, the worker: claim what is due, push it with no transaction open, settle what came of it.

Each target has lanes of its own, so that a slow CRM slows nobody else. A lane that finds nothing sleeps until a commit
wakes it, or for a second.
"""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from crm_sync import clock
from crm_sync.adapters.contract import Adapter
from crm_sync.adapters.registry import build
from crm_sync.errors import Fault, NotFound, SettingsError, SetupError, Unavailable
from crm_sync.metrics import PUSHES
from crm_sync.push import Channel, push, sort_out
from crm_sync.retry import judge
from crm_sync.settings import Settings
from crm_sync.store import outbox, targets
from crm_sync.store.engine import Database
from crm_sync.store.outbox import Settlement
from crm_sync.store.wakeup import Wakeup

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
SETTLE_TRIES = 5
GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One thread's part of the work on one target. `wake` is its own, set when there may be something new."""

    target_id: int
    channel: Channel
    wake: threading.Event

    @property
    def name(self) -> str:
        """The target's name."""
        return self.channel.name


def build_adapters(settings: Settings) -> dict[str, Adapter]:
    """Return the adapter of each target by name; raises SettingsError that names every fault of every target."""
    adapters: dict[str, Adapter] = {}
    faults: list[str] = []
    for name, target in settings.targets.items():
        try:
            adapters[name] = build(name, target, worker_deadline_seconds=settings.worker.push_deadline_seconds)
        except SettingsError as error:
            faults.extend(error.faults)
    if faults:
        raise SettingsError(faults)
    return adapters


def run(settings: Settings, database: Database, stop: threading.Event) -> None:
    """Deliver until `stop` is set; then finish the pushes that are under way, and return."""
    adapters = build_adapters(settings)
    lanes = list(_lanes(settings, database, adapters))
    threads = [
        threading.Thread(target=_work, args=(lane, settings, database, stop), name=f"deliver-{lane.name}", daemon=True)
        for lane in lanes
    ]
    for thread in threads:
        thread.start()
    log.info("worker_started", targets=sorted(adapters), lanes=len(lanes))
    _wake(lanes, database, stop)
    if _have_ended(threads, settings.worker.push_deadline_seconds + GRACE_SECONDS):
        for adapter in adapters.values():
            adapter.close()
    log.info("worker_stopped")


def _lanes(settings: Settings, database: Database, adapters: Mapping[str, Adapter]) -> Iterator[Lane]:
    with database.write() as connection:
        if not settings.targets and (
            served := [row.name for row in targets.rows(connection) if row.state != "retired"]
        ):
            raise SetupError(
                f"The settings name no targets, but the database serves {', '.join(served)}: start the worker with the"
                " settings that name them, or it would retire them all."
            )
        adapter_names = {name: target.adapter for name, target in settings.targets.items()}
        ids = targets.sync(connection, adapter_names, retire_others=True)
    for name, target in settings.targets.items():
        channel = Channel(name=name, adapter=adapters[name], settings=target)
        for _ in range(target.concurrency):
            yield Lane(target_id=ids[name], channel=channel, wake=threading.Event())


def _have_ended(threads: Sequence[threading.Thread], seconds: float) -> bool:
    """Wait for the pushes under way. One that hangs is left behind: its lease runs out, and it is pushed again."""
    until = clock.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - clock.monotonic()))
    stuck = sorted({thread.name for thread in threads if thread.is_alive()})
    if stuck:
        log.error("pushes_hang", lanes=stuck)
    return not stuck


def _wake(lanes: Sequence[Lane], database: Database, stop: threading.Event) -> None:
    """Wake all lanes after each commit of debts, and every second whatever happens."""
    while not stop.is_set():
        try:
            with Wakeup(database) as wakeup:
                while not stop.is_set():
                    wakeup.wait(POLL_SECONDS)
                    for lane in lanes:
                        lane.wake.set()
        except (SQLAlchemyError, Unavailable, OSError) as error:
            log.warning("wakeup_lost", error=type(error).__name__)
            stop.wait(POLL_SECONDS)
    for lane in lanes:
        lane.wake.set()


def _work(lane: Lane, settings: Settings, database: Database, stop: threading.Event) -> None:
    """Go on whatever happens: this loop is what pays the debts."""
    while not stop.is_set():
        try:
            found = deliver_once(lane, settings, database)
        except Unavailable as error:
            log.warning("database_unavailable", target=lane.name, reason=str(error), detail=error.detail)
            stop.wait(POLL_SECONDS)
            continue
        except Exception:
            log.exception("lane_failed", target=lane.name)
            stop.wait(POLL_SECONDS)
            continue
        if not found:
            lane.wake.wait(POLL_SECONDS)
            lane.wake.clear()


def deliver_once(lane: Lane, settings: Settings, database: Database) -> int:
    """Claim one batch, push it, settle it; return how many deliveries it held."""
    with database.read() as connection:
        if not outbox.is_due(connection, lane.target_id):
            return 0
    # The lease is counted from before the claim, so that we never believe in it for longer than the database does.
    lease_ends_at = clock.monotonic() + settings.worker.lease_seconds
    with database.write() as connection:
        claims = outbox.claim(
            connection, lane.target_id, limit=lane.channel.batch, lease_seconds=settings.worker.lease_seconds
        )
    if not claims:
        return 0
    settled, entries = sort_out(lane.channel, claims)
    if entries and clock.monotonic() + settings.worker.push_deadline_seconds > lease_ends_at:
        with database.write() as connection:
            outbox.release(connection, [entry.claim for entry in entries])
        entries = []
    pushed, faults = push(lane.channel, entries)
    _settle(lane, database, settled + pushed, faults)
    return len(claims)


def _settle(lane: Lane, database: Database, settled: Sequence[Settlement], faults: Sequence[Fault]) -> None:
    """Write what came of the claims. What cannot be written in the end is pushed again, under the same key."""
    for tries_left in range(SETTLE_TRIES, 0, -1):
        try:
            with database.write() as connection:
                _hold_or_pause(connection, lane, faults)
                late = outbox.settle(connection, settled)
            break
        except Unavailable:
            if tries_left == 1:
                raise
            time.sleep(random.random())
    for settlement in settled:
        PUSHES.labels(target=lane.name, outcome=settlement.outcome).inc()
        log.info(
            "delivery_settled",
            delivery_id=settlement.claim.delivery_id,
            target=lane.name,
            outcome=settlement.outcome,
            state=settlement.state,
            code=settlement.code,
        )
    for claim in late:
        log.warning("settled_too_late", delivery_id=claim.delivery_id, target=lane.name)


def _hold_or_pause(connection: Connection, lane: Lane, faults: Sequence[Fault]) -> None:
    """Let the target rest as its CRM asked, or until a person has looked. Most settles have nothing to write here."""
    now = clock.now()
    verdicts = [(fault, judge(fault, attempts=0, now=now, random=0.0)) for fault in faults]
    pausing = next((fault for fault, verdict in verdicts if verdict.pauses), None)
    rest = max((verdict.rest for _, verdict in verdicts if verdict.rest), default=None)
    if pausing is not None:
        log.error("target_paused", target=lane.name, code=pausing.code, reason=pausing.message)
        with suppress(NotFound):  # It was retired meanwhile, and is not pushed to either.
            targets.pause(connection, lane.name, pausing.message)
    elif rest is not None:
        log.warning("target_rests", target=lane.name, seconds=rest.total_seconds())
        targets.let_rest(connection, lane.target_id, rest)
