"""The worker process: lanes for each target, woken by commits; a heartbeat for what they hold; an orderly end.

Each target has lanes of its own, so that a slow CRM slows nobody else.
"""

import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import structlog
from sqlalchemy.exc import SQLAlchemyError

from crm_sync import clock, enrich, listen, reconcile
from crm_sync.adapters.contract import Adapter
from crm_sync.adapters.registry import build_all
from crm_sync.deliver import POLL_SECONDS, Bell, Lane, note_failure, work
from crm_sync.errors import SetupError, Unavailable
from crm_sync.genesys.client import GenesysClient
from crm_sync.holds import GRACE_SECONDS, Holds
from crm_sync.push import Channel
from crm_sync.settings import Settings
from crm_sync.store import outbox, targets
from crm_sync.store.engine import Database
from crm_sync.store.wakeup import Wakeup

log = structlog.get_logger(__name__)

KEEP_SECONDS = 60.0
"""How often a worker says which targets it serves."""


def run(settings: Settings, database: Database, stop: threading.Event) -> None:
    """Deliver until `stop` is set; then finish the calls that are under way, give back the rest, and return."""
    adapters = build_all(settings.targets, worker_deadline_seconds=settings.worker.push_deadline_seconds)
    crew = Crew(settings, database, adapters, stop)
    crew.start()
    _start_asking(settings, database, stop)
    crew.keep_awake()
    if crew.has_ended(settings.worker.push_deadline_seconds + GRACE_SECONDS):
        for adapter in adapters.values():
            adapter.close()
    log.info("worker_stopped", worker=crew.name)


def _start_asking(settings: Settings, database: Database, stop: threading.Event) -> None:
    """Ask Genesys Cloud what no event tells, beside the lanes. What is under way at the end is asked for again."""
    client = GenesysClient.from_settings(settings.genesys)
    if client is None:
        return
    jobs = [reconcile.run_when_due] if settings.reconcile.every_minutes else []
    jobs += [enrich.run_when_due] if enrich.is_wanted(settings) else []
    jobs += [listen.run_when_due] if listen.is_wanted(settings) else []
    for job in jobs:
        arguments = (settings, database, client, stop)
        threading.Thread(target=job, args=arguments, name=job.__module__, daemon=True).start()


class Crew:
    """The lanes of a worker and their threads. `name` tells this worker's claims from those of others."""

    def __init__(
        self, settings: Settings, database: Database, adapters: Mapping[str, Adapter], stop: threading.Event
    ) -> None:
        self.name = secrets.token_hex(4)
        self._settings = settings
        self._database = database
        self._stop = stop
        self._ended = threading.Event()
        self._holds = Holds(settings.worker)
        self._bells: list[Bell] = []
        self._threads: list[tuple[Lane, threading.Thread]] = []
        self._lanes = list(self._make_lanes(adapters))

    def start(self) -> None:
        """Start a thread for each lane, and the heartbeat."""
        for lane in self._lanes:
            self._start(lane)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        served = sorted(self._settings.targets)
        log.info("worker_started", worker=self.name, targets=served, lanes=len(self._lanes))

    def keep_awake(self) -> None:
        """Wake a lane of each target after each commit of debts, until the worker is to stop."""
        while not self._stop.is_set():
            try:
                with Wakeup(self._database) as wakeup:
                    while not self._stop.is_set():
                        wakeup.wait(POLL_SECONDS)
                        self._wake()
            except (SQLAlchemyError, Unavailable, OSError) as error:
                log.warning("wakeup_lost", error=type(error).__name__)
                self._stop.wait(POLL_SECONDS)
        self._wake()

    def has_ended(self, seconds: float) -> bool:
        """Wait for the calls under way. One that hangs is left behind: its lease runs out, and it is pushed again."""
        until = clock.monotonic() + seconds
        for _, thread in self._threads:
            thread.join(max(0.0, until - clock.monotonic()))
        self._ended.set()
        stuck = sorted({thread.name for _, thread in self._threads if thread.is_alive()})
        if stuck:
            log.error("pushes_hang", lanes=stuck)
        return not stuck

    def _make_lanes(self, adapters: Mapping[str, Adapter]) -> Iterator[Lane]:
        ids = _sync(self._settings, self._database)
        for name, target in self._settings.targets.items():
            self._bells.append(Bell())
            lane = Lane(
                target_id=ids[name],
                channel=Channel(name=name, adapter=adapters[name], settings=target),
                holds=self._holds,
                bell=self._bells[-1],
                stop=self._stop,
                worker=self.name,
            )
            yield from (replace(lane) for _ in range(target.concurrency))

    def _start(self, lane: Lane) -> None:
        thread = threading.Thread(target=work, args=(lane, self._database), name=f"deliver-{lane.name}", daemon=True)
        self._threads.append((lane, thread))
        thread.start()

    def _wake(self) -> None:
        for bell in self._bells:
            bell.ring()

    def _beat(self) -> None:
        """Extend leases, replace lanes that hang, and say which targets are served, until the last call has ended."""
        kept_at = clock.monotonic()
        while not self._ended.wait(self._settings.worker.lease_seconds / 8):
            try:
                self._holds.extend(self._database)
                self._replace_overdue()
                if clock.monotonic() - kept_at > KEEP_SECONDS:
                    kept_at = clock.monotonic()
                    self._keep_targets()
            except Unavailable as error:
                log.warning("heartbeat_failed", reason=str(error))
            except Exception:
                log.exception("heartbeat_failed")

    def _replace_overdue(self) -> None:
        """Leave each lane whose call never returns to itself, and put another in its place.

        What it held is claimed again alone, and counted as a lost lease: it may be what hangs.
        """
        for lane in self._lanes:
            hold = lane.hold
            if hold is None or not hold.is_overdue():
                continue
            log.error("push_hangs", target=lane.name, deliveries=[claim.delivery_id for claim in hold.claims])
            lane.is_replaced = True
            with self._database.write() as connection:
                note_failure(connection, lane, was_probe=hold.claims[0].is_probe)
                outbox.forsake(connection, hold.claims)
            self._holds.room.leave(lane)
            fresh = replace(lane, hold=None, is_replaced=False, batches=1)
            self._lanes[self._lanes.index(lane)] = fresh
            self._start(fresh)

    def _keep_targets(self) -> None:
        ids = {lane.target_id for lane in self._lanes}
        with self._database.write() as connection:
            targets.keep(connection, ids)


def _sync(settings: Settings, database: Database) -> dict[str, int]:
    with database.write() as connection:
        if not settings.targets and (
            served := [row.name for row in targets.rows(connection) if row.state != "retired"]
        ):
            raise SetupError(
                f"The settings name no targets, but the database serves {', '.join(served)}: start the worker with the"
                " settings that name them, or it would retire them all."
            )
        ids = targets.sync(connection, settings.targets)
        targets.keep(connection, ids.values())
    return ids
