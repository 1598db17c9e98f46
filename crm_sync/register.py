"""STAGE 0: tell Genesys Cloud where we are, once, whoever starts and how often: list, compare, write what differs."""

import hmac
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import structlog
from sqlalchemy import Connection

from crm_sync import clock
from crm_sync.errors import AdapterFailure, CrmSyncError, Kind, SetupError, Unavailable
from crm_sync.genesys.client import required
from crm_sync.genesys.triggers import Trigger
from crm_sync.genesys.webhooks import Webhook
from crm_sync.register_triggers import TriggerWay
from crm_sync.register_webhook import WebhookWay
from crm_sync.registration import Keep, Plan, Way
from crm_sync.services import Services
from crm_sync.settings import Settings
from crm_sync.store import leases, registrations
from crm_sync.store.registrations import Registration

# Longer than the calls between two extensions can take: a token, an API call, and both again after a 401.
LEASE_SECONDS = 60.0
FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 300.0

State: TypeAlias = Literal["not_configured", "pending", "registered", "failed"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationStatus:
    """Whether Genesys Cloud knows where we are: the error of the last try, and since when the state holds."""

    state: State
    error: str | None = None
    since: datetime | None = None


def plan(services: Services) -> Plan:
    """Return what `register` would do; changes nothing, here or there. Raises as `register` does."""
    client, way = required(services.genesys), _way(services.settings)
    return way.plan(client, _find(services))


def register(services: Services, *, wait_seconds: float = 0.0) -> Plan:
    """Have exactly our webhook or triggers registered, and remember what came of it; harmless when repeated.

    Raises SetupError when a setting is missing, Unavailable while another process is at it (for longer than
    `wait_seconds`), AdapterFailure when Genesys Cloud does not do it.
    """
    client, way = required(services.genesys), _way(services.settings)
    with _lease(services, wait_seconds) as keep:
        try:
            done = way.carry_out(client, way.plan(client, _find(services)), keep)
        except AdapterFailure as error:
            _write_failure(services, way.url, str(error))
            raise
        _write_success(services, way, done)
    log.info("registration_done", action=done.action, ids=[step.id for step in done.steps])
    return done


def run_in_background(services: Services) -> threading.Thread | None:
    """Register in a daemon thread that tries until it has, then ends; None where no registration is configured."""
    if services.settings.genesys.registration == "none":
        return None
    thread = threading.Thread(target=until_registered, args=(services,), name="register", daemon=True)
    thread.start()
    return thread


def until_registered(
    services: Services, *, sleep: Callable[[float], None] = time.sleep, dice: Callable[[], float] = random.random
) -> None:
    """Try, with growing waits, until it is registered or the settings make it impossible. Raises nothing."""
    for attempt in itertools.count():
        asked_for = 0.0
        try:
            # Where all start at once each waits for its turn, and for one that died at it until its lease ends.
            for remark in register(services, wait_seconds=2 * LEASE_SECONDS).remarks:
                log.warning("registration_remark", remark=remark)
            return
        except SetupError as error:
            log.error("registration_impossible", error=str(error))
            _note_impossible(services, str(error))
            return
        except AdapterFailure as error:
            for_a_person = error.fault.kind in (Kind.AUTH, Kind.CONFIG, Kind.DATA)
            (log.error if for_a_person else log.warning)("registration_failed", error=str(error))
            if error.fault.retry_at is not None:
                asked_for = (error.fault.retry_at - clock.now()).total_seconds()
        except Unavailable as error:
            log.info("registration_waits", reason=str(error))
        except Exception:
            log.exception("registration_broke")
        step = min(FIRST_WAIT_SECONDS * 2 ** min(attempt, 10), LONGEST_WAIT_SECONDS)
        sleep(max(step * (0.5 + dice() / 2), asked_for))


def status(services: Services) -> RegistrationStatus:
    """Return the state, as any process of the deployment left it; asks the database through `Database.run`."""
    if services.settings.genesys.registration == "none":
        return RegistrationStatus(state="not_configured")
    try:
        way = _way(services.settings)
    except SetupError as error:
        return RegistrationStatus(state="failed", error=str(error))
    row = _find(services)
    if row is None:
        return RegistrationStatus(state="pending")
    if row.state == "failed":
        return RegistrationStatus(state="failed", error=row.error, since=row.updated_at)
    is_ours = hmac.compare_digest(row.fingerprint, way.fingerprint)
    return RegistrationStatus(state="registered" if is_ours else "pending", since=row.updated_at)


def show(services: Services) -> tuple[RegistrationStatus, Sequence[Webhook] | Sequence[Trigger] | None]:
    """Return the state, and all webhooks or our triggers at Genesys Cloud, None where it has no list."""
    client, way = required(services.genesys), _way(services.settings)
    return status(services), way.listed(client)


def remove(services: Services, remote_id: str | None = None) -> list[str]:
    """Remove this webhook or trigger, or all that are ours, at Genesys Cloud, and return the ids.

    Raises NotFound where there is none.
    """
    client, way = required(services.genesys), _way(services.settings)
    with _lease(services):
        removed, is_gone = way.remove(client, _find(services), remote_id)
        if is_gone:
            _forget(services)
    log.info("registration_removed", ids=removed)
    return removed


def _way(settings: Settings) -> Way:
    """Return how we register by these settings; raises SetupError where one is missing."""
    if settings.genesys.registration == "trigger":
        return TriggerWay.from_settings(settings)
    return WebhookWay.from_settings(settings)


def _name(services: Services) -> str:
    """Return what lease and memory are called: each way has its own, since what the other has made is still there."""
    return "triggers" if services.settings.genesys.registration == "trigger" else "webhook"


@contextmanager
def _lease(services: Services, wait_seconds: float = 0.0) -> Iterator[Keep]:
    """Be the one process that registers; yields what to call before a write, to be sure that one still is."""
    turn = leases.held(services.database, _name(services), seconds=LEASE_SECONDS, wait_seconds=wait_seconds)
    with turn as lease:
        if lease is None:
            raise Unavailable("Another process is registering at Genesys Cloud: try again in a minute.")
        extend = lease.extend

        def keep() -> None:
            if not extend():
                raise Unavailable("The registration took too long and was left to another process.")

        yield keep


def _find(services: Services) -> Registration | None:
    return services.database.reading(lambda connection: registrations.find(connection, _name(services)))


def _write_success(services: Services, way: Way, done: Plan) -> None:
    # Only of a webhook the id is asked for later; triggers are found by their names.
    remote_id = done.steps[0].id if len(done.steps) == 1 else None

    def work(connection: Connection) -> None:
        known = registrations.find(connection, _name(services))
        is_known = known is not None and (known.state, known.fingerprint) == ("registered", way.fingerprint)
        if done.action == "unchanged" and is_known:
            return
        registrations.succeed(
            connection, _name(services), remote_id=remote_id, url=way.url, fingerprint=way.fingerprint
        )

    services.database.writing(work)


def _write_failure(services: Services, url: str, error: str) -> None:
    services.database.writing(lambda connection: registrations.fail(connection, _name(services), url=url, error=error))


def _note_impossible(services: Services, error: str) -> None:
    with suppress(CrmSyncError):
        _write_failure(services, services.settings.public_url or "", error)


def _forget(services: Services) -> None:
    services.database.writing(lambda connection: registrations.forget(connection, _name(services)))
