"""STAGE 3: what no event tells, asked for beside them within a budget: names of wrap-up codes, records of what ended.

Never in the way of a request: one process of all does it, now and then, in a thread of its worker.
"""

import json
import threading
from collections.abc import Callable

import structlog

from crm_sync import clock, reapply
from crm_sync.closure import EventStatus
from crm_sync.errors import AdapterFailure, Unavailable
from crm_sync.genesys import analytics, directory, events
from crm_sync.genesys.client import GenesysClient
from crm_sync.settings import Settings
from crm_sync.store import enrichments, labels, leases
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox

SOURCE = "enrich"
LOOK_SECONDS = 60.0
LEASE_SECONDS = 30.0
NAMES_SECONDS = 6 * 3600.0

_NAME = "enrich"

log = structlog.get_logger(__name__)


def run_when_due(settings: Settings, database: Database, client: GenesysClient, stop: threading.Event) -> None:
    """Enrich until `stop` is set: names at first and every six hours, records each minute. Raises nothing."""
    named_at = -NAMES_SECONDS
    while not stop.wait(LOOK_SECONDS):
        try:
            if settings.resolution.as_map().wrapup_names and clock.monotonic() - named_at >= NAMES_SECONDS:
                _alone(database, lambda: look_up_codes(settings, database, client))
                named_at = clock.monotonic()
            if settings.enrich.requests_per_hour:
                _alone(database, lambda: fetch_records(settings, database, client))
        except Unavailable as error:
            log.warning("enrichment_waits", reason=str(error))
        except AdapterFailure as error:
            log.warning("enrichment_failed", error=str(error))
        except Exception:
            log.exception("enrichment_broke")


def is_wanted(settings: Settings) -> bool:
    """Tell whether the settings leave anything to ask for; the tutorial's contract has neither names nor details."""
    wants = bool(settings.enrich.requests_per_hour or settings.resolution.as_map().wrapup_names)
    return wants and settings.genesys.dialect == "platform"


def look_up_codes(settings: Settings, database: Database, client: GenesysClient) -> int:
    """Look the wrap-up codes' names up, and derive anew what has a code that is called otherwise now.

    Returns how many closures changed for that.
    """
    named = directory.wrapup_codes(client)
    with database.write() as connection:
        changed = labels.put(connection, "wrapup_code", named)
    inbox = Inbox(database, settings.resolution.as_map())
    turned = reapply.with_codes(database, inbox, changed) if changed else 0
    log.info("wrapup_codes_named", codes=len(named), changed=len(changed), closures=turned)
    return turned


def fetch_records(settings: Settings, database: Database, client: GenesysClient) -> int:
    """Ask for the records of conversations that have ended, as many calls as a minute's part of the budget allows.

    Returns how many records came in.
    """
    limits, came = settings.enrich, 0
    inbox = Inbox(database, settings.resolution.as_map())
    for _ in range(max(1, round(limits.requests_per_hour * LOOK_SECONDS / 3600))):
        with database.read() as connection:
            ids = enrichments.waiting(connection, wait_seconds=60.0 * limits.wait_minutes, limit=limits.ids_at_once)
        if not ids:
            break
        context = events.Context(
            source=SOURCE, received_at=clock.now(), organization_id=settings.genesys.organization_id
        )
        bodies = [json.dumps(record).encode() for record in analytics.some(client, ids)]
        found = [event for body in bodies for event in events.parse(body, context)[0]]
        known = {event.conversation_id for event in found if event.status is EventStatus.ACCEPTED}
        with database.write() as connection:
            inbox.record_in(connection, found)
            enrichments.note_unknown(connection, [each for each in ids if each not in known])
            enrichments.forget_old(connection)
        came += len(known)
    return came


def _alone(database: Database, work: Callable[[], object]) -> None:
    """Do this unless another process is at it."""
    with leases.held(database, _NAME, seconds=LEASE_SECONDS, beats=True) as lease:
        if lease is not None:
            work()
