"""STAGE 3: ask analytics what ended in a window, and send it through the same door as the events: nothing stays lost.

A page is one transaction: its conversations, what they changed, what was missing or different, and where the run goes
on. So whoever dies loses the page that he had in hand, and asks for that one again.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from crm_sync import clock
from crm_sync.closure import JSON, Event, EventStatus
from crm_sync.errors import AdapterFailure, Kind, Unavailable
from crm_sync.genesys import analytics, events
from crm_sync.genesys.analytics import Method, Page, Window
from crm_sync.genesys.client import GenesysClient, required
from crm_sync.settings import ReconcileSettings, Settings
from crm_sync.store import leases, reconciliations
from crm_sync.store.engine import Database
from crm_sync.store.inbox import LONGEST_SECONDS, Inbox
from crm_sync.store.reconciliations import Drift, Progress, Run

SOURCE = "reconcile"
LEASE_SECONDS = 10.0
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 120.0
POLL_SECONDS = 1.0
LOOK_SECONDS = 60.0

_NAME = "reconcile"
_LAST_RESORT = frozenset((Kind.AUTH, Kind.CONFIG, Kind.DATA))
"""Trouble that a person must end: the run fails, instead of trying for ever."""

log = structlog.get_logger(__name__)


class Lost(Unavailable):
    """Another process reconciles."""


def latest(settings: ReconcileSettings) -> Window:
    """Return the window of a usual run: the last days, up to what analytics has had time to note."""
    until = clock.now() - timedelta(minutes=settings.lag_minutes)
    return Window(since=until - timedelta(days=settings.look_back_days), until=until)


def run(
    settings: Settings,
    database: Database,
    client: GenesysClient | None,
    window: Window | None = None,
    *,
    by_job: bool = False,
    progress: Callable[[Run], None] = lambda run: None,
    stop: threading.Event | None = None,
    wait_seconds: float = 0.0,
) -> Run:
    """Reconcile a window, the usual one unless it is given, and return the run when it has ended.

    One that was begun before is first brought to its end. With `stop` set it is left where it is, still running. Raises
    SetupError without credentials, Lost while another process is at it (for longer than `wait_seconds`: one that died
    is at it until its lease ends), AdapterFailure for trouble that needs a person.
    """
    client, stop = required(client), stop or threading.Event()
    # It beats, since a page may wait for minutes until its turn comes.
    turn = leases.held(database, _NAME, seconds=LEASE_SECONDS, beats=True, wait_seconds=wait_seconds, stop=stop)
    with turn as lease:
        if lease is None:
            raise Lost("Another process is reconciling: try again when it has ended.")
        made = _Reconciliation(
            settings=settings, database=database, client=client, lease=lease, progress=progress, stop=stop
        )
        unfinished = made.unfinished()
        if unfinished is not None:
            log.info("reconciliation_goes_on", run_id=unfinished.id, pages=unfinished.pages)
            ended = made.go_on(unfinished)
            if window is None or ended.state == "running" or (ended.since, ended.until) == (window.since, window.until):
                return ended
        return made.go_on(made.begin(window or latest(settings.reconcile), by_job=by_job))


def run_when_due(settings: Settings, database: Database, client: GenesysClient, stop: threading.Event) -> None:
    """Reconcile on the schedule of the settings until `stop` is set; one process of all does. Raises nothing."""
    every_seconds, begun_at = 60.0 * settings.reconcile.every_minutes, clock.monotonic()
    while not stop.wait(min(LOOK_SECONDS, every_seconds)):
        try:
            if _is_due(database, every_seconds, looked_for=clock.monotonic() - begun_at):
                run(settings, database, client, stop=stop)
        except Lost:
            log.debug("reconciliation_elsewhere")
        except Unavailable as error:
            log.warning("reconciliation_waits", reason=str(error))
        except AdapterFailure as error:
            log.error("reconciliation_failed", error=str(error))
        except Exception:
            log.exception("reconciliation_broke")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reconciliation:
    """What one process needs to bring a run to its end."""

    settings: Settings
    database: Database
    client: GenesysClient
    lease: leases.Lease
    progress: Callable[[Run], None]
    stop: threading.Event

    def hold(self, connection: Connection) -> None:
        """Make sure, within a transaction, that we are still the one who reconciles."""
        if not self.lease.extend_in(connection):
            raise Lost("The reconciliation took too long and was left to another process.")

    def unfinished(self) -> Run | None:
        with self.database.read() as connection:
            return reconciliations.unfinished(connection)

    def begin(self, window: Window, *, by_job: bool) -> Run:
        parts = [
            {"method": method, "since": clock.to_text(part.since), "until": clock.to_text(part.until)}
            for method, whole in self._methods(window, by_job=by_job)
            for part in analytics.split(whole, timedelta(days=self.settings.reconcile.longest_interval_days))
        ]
        with self.database.write() as connection:
            self.hold(connection)
            begun = reconciliations.start(connection, since=window.since, until=window.until, parts=parts)
        log.info("reconciliation_begins", run_id=begun.id, parts=len(parts))
        return begun

    def go_on(self, current: Run) -> Run:
        """Fetch page after page until the run has ended, or is to stop. Passing trouble is waited out."""
        waits = 0
        while current.part < len(current.parts):
            if self.stop.is_set():
                return current
            try:
                self._step(current)
            except AdapterFailure as error:
                self._note(current, error, waits)
                waits += 1
                current = self._read(current.id)
            else:
                waits = 0
                current = self._read(current.id)
                self.progress(current)
        with self.database.write() as connection:
            self.hold(connection)
            ended = reconciliations.end(connection, current.id)
        log.info(
            "reconciliation_ended", run_id=ended.id, conversations=ended.conversations, missed=ended.missed,
            different=ended.different, unreadable=ended.unreadable,
        )  # fmt: skip
        return ended

    def _methods(self, window: Window, *, by_job: bool) -> Iterator[tuple[Method, Window]]:
        """Return how each part of a window is asked for: jobs reach only so far, the rest is left to the query."""
        if self.client.dialect == "tutorial":
            yield "tutorial", window
            return
        reach = min(analytics.available_until(self.client), window.until) if by_job else window.since
        if reach > window.since:
            yield "job", Window(since=window.since, until=reach)
        if reach < window.until:
            rest = Window(since=max(reach, window.since), until=window.until)
            yield "query", analytics.first_day(rest, timedelta(days=self.settings.reconcile.longest_life_days))

    def _step(self, current: Run) -> None:
        """Fetch one page and keep it with where the run goes on, or ask for a job, or wait for it."""
        part = current.parts[current.part]
        if part["method"] == "job" and not self._is_job_ready(current):
            return
        page = self._fetch(current, part)
        is_last = page.next_cursor is None
        self._keep(
            current,
            page,
            part=current.part + is_last,
            job_id=None if is_last else current.job_id,
        )

    def _fetch(self, current: Run, part: Mapping[str, Any]) -> Page:
        limits, cursor = self.settings.reconcile, current.next_cursor
        window = Window(since=datetime.fromisoformat(part["since"]), until=datetime.fromisoformat(part["until"]))
        if part["method"] == "job":
            assert current.job_id is not None
            return analytics.job_page(self.client, current.job_id, cursor=cursor, page_size=limits.job_page_size)
        if part["method"] == "tutorial":
            return analytics.tutorial_page(self.client, window, cursor=cursor, page_size=limits.page_size)
        return analytics.query_page(self.client, window, cursor=cursor, page_size=limits.page_size)

    def _is_job_ready(self, current: Run) -> bool:
        part = current.parts[current.part]
        if current.job_id is None:
            window = Window(since=datetime.fromisoformat(part["since"]), until=datetime.fromisoformat(part["until"]))
            job_id = analytics.submit_job(self.client, window)
            with self.database.write() as connection:
                self.hold(connection)
                reconciliations.note(connection, current.id, job_id=job_id)
            return False
        if current.next_cursor is not None or analytics.is_job_done(self.client, current.job_id):
            return True
        self.stop.wait(POLL_SECONDS)
        return False

    def _keep(self, current: Run, page: Page, *, part: int, job_id: str | None) -> None:
        found = [self._parse(record) for record in page.records]
        readable = {event.conversation_id: event for event in found if event.status is EventStatus.ACCEPTED}
        inbox = Inbox(self.database, self.settings.resolution.as_map())
        started = clock.monotonic()
        with self.database.write() as connection:
            self.hold(connection)
            ids = sorted(conversation_id for conversation_id in readable if conversation_id is not None)
            before = reconciliations.told(connection, ids)
            inbox.record_in(connection, found)
            after = reconciliations.told(connection, ids)
            drift = [d for c in ids if (d := _drift(before.get(c), after[c], readable[c])) is not None]
            made = Progress(
                part=part,
                job_id=job_id,
                next_cursor=page.next_cursor,
                conversations=len(readable),
                unreadable=len(found) - len([event for event in found if event.status is EventStatus.ACCEPTED]),
                drift=drift,
            )
            reconciliations.progress(connection, current.id, made)
            if clock.monotonic() - started > LONGEST_SECONDS:
                # Incremental readers count on no intake that lasts longer.
                raise Unavailable("A page took too long to store: make page_size and job_page_size smaller.")
        if drift:
            missed = sum(one.what == "missed" for one in drift)
            log.warning("drift_mended", run_id=current.id, missed=missed, different=len(drift) - missed)

    def _parse(self, record: JSON) -> Event:
        body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
        context = events.Context(
            source=SOURCE,
            received_at=clock.now(),
            organization_id=self.settings.genesys.organization_id,
        )
        (event,), _ = events.parse(body, context)
        return event

    def _note(self, current: Run, error: AdapterFailure, waits: int) -> None:
        """Wait out passing trouble; raise what needs a person, with the run where it is."""
        if error.fault.code == analytics.JOB_LOST:
            with self.database.write() as connection:
                self.hold(connection)
                # Its cursor went with it. What its pages held is known already, and met again as duplicates.
                reconciliations.progress(connection, current.id, Progress(part=current.part, pages=0))
        else:
            with self.database.write() as connection:
                self.hold(connection)
                reconciliations.note(connection, current.id, job_id=current.job_id, error=str(error))
        if error.fault.kind in _LAST_RESORT:
            raise error
        asked = 0.0 if error.fault.retry_at is None else (error.fault.retry_at - clock.now()).total_seconds()
        wait = max(min(FIRST_WAIT_SECONDS * 2 ** min(waits, 10), LONGEST_WAIT_SECONDS), asked)
        log.warning("reconciliation_waits", run_id=current.id, reason=str(error), seconds=wait)
        self.stop.wait(wait)

    def _read(self, run_id: int) -> Run:
        with self.database.read() as connection:
            return reconciliations.find(connection, run_id)


def _drift(before: Mapping[str, Any] | None, after: Mapping[str, Any], event: Event) -> Drift | None:
    """Return what was missing or different before a record came in, None where nothing was.

    A record also brings what only analytics knows, that the customer served itself: no event was lost for that.
    """
    if before is None or not before["closed"]:
        what, fields = "missed", {}
    else:
        what = "different"
        names = (name for name in reconciliations.TELLING if before[name] != after[name])
        fields = {name: [before[name], after[name]] for name in names}
        if fields.keys() == {"resolution"} and after["resolution_source"] == "self_served":
            return None
    if not after["closed"] or (what == "different" and not fields):
        return None
    return Drift(
        conversation_id=after["conversation_id"],
        what=what,
        fields=fields,
        ended_at=after["ended_at"],
        event_id=event.event_id,
    )


def _is_due(database: Database, every_seconds: float, *, looked_for: float) -> bool:
    """Tell whether the last run was so long ago, or is to go on; where none ever was, whether we waited so long."""
    with database.read() as connection:
        due = reconciliations.is_due(connection, every_seconds=every_seconds)
    return looked_for >= every_seconds if due is None else due
