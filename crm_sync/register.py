"""STAGE 0: tell Genesys Cloud where we are, once, whoever starts and how often: list, compare, write what differs."""

import hashlib
import hmac
import itertools
import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import structlog
from pydantic import SecretStr

from crm_sync import clock
from crm_sync.errors import AdapterFailure, CrmSyncError, Kind, NotFound, SetupError, Unavailable
from crm_sync.genesys import webhooks
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.webhooks import Webhook
from crm_sync.services import Services
from crm_sync.settings import Settings
from crm_sync.store import leases, registrations
from crm_sync.store.engine import Database
from crm_sync.store.registrations import Registration

# Longer than the calls between two extensions can take: a token, an API call, and both again after a 401.
LEASE_SECONDS = 60.0
FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 300.0

State: TypeAlias = Literal["not_configured", "pending", "registered", "failed"]
Action: TypeAlias = Literal["created", "updated", "unchanged"]

_NAME = "webhook"
_EVENTS = (webhooks.ENDED,)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done at Genesys Cloud. `webhook_id` is None where it told none."""

    action: Action
    webhook_id: str | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationStatus:
    """Whether Genesys Cloud knows where we are: the error of the last try, and since when the state holds."""

    state: State
    error: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    name: str
    url: str
    secret: SecretStr
    fingerprint: str


def register(services: Services) -> Outcome:
    """Have exactly our webhook registered, and remember what came of it; harmless when repeated.

    Raises SetupError when a setting is missing, Unavailable while another process is at it, AdapterFailure when
    Genesys Cloud does not do it.
    """
    client, wanted = _client(services), _wanted(services.settings)
    database = services.database
    with _lease(database) as keep:
        try:
            outcome = _bring_in_line(client, database, wanted, keep)
        except AdapterFailure as error:
            _write_failure(database, wanted.url, str(error))
            raise
        _write_success(database, outcome, wanted)
    log.info("webhook_registered", action=outcome.action, webhook_id=outcome.webhook_id, url=outcome.url)
    return outcome


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
    """Try, with growing waits, until the webhook is registered or the settings make it impossible. Raises nothing."""
    for attempt in itertools.count():
        asked_for = 0.0
        try:
            register(services)
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
        wanted = _wanted(services.settings)
    except SetupError as error:
        return RegistrationStatus(state="failed", error=str(error))
    row = _find(services.database)
    if row is None:
        return RegistrationStatus(state="pending")
    if row.state == "failed":
        return RegistrationStatus(state="failed", error=row.error, since=row.updated_at)
    is_ours = hmac.compare_digest(row.fingerprint, wanted.fingerprint)
    return RegistrationStatus(state="registered" if is_ours else "pending", since=row.updated_at)


def show(services: Services) -> tuple[RegistrationStatus, list[Webhook] | None]:
    """Return the state and all webhooks that Genesys Cloud lists, None where it has no list."""
    return status(services), webhooks.registered(_client(services))


def remove(services: Services, webhook_id: str | None = None) -> str:
    """Remove this webhook, or ours, at Genesys Cloud and return its id; raises NotFound where there is none."""
    client, database = _client(services), services.database
    with _lease(database):
        known = _find(database)
        ours = None if known is None else known.remote_id
        chosen = webhook_id or ours
        if chosen is None:
            raise NotFound("No webhook is registered as ours: see crm-sync webhook show, and name the id to remove.")
        was_there = webhooks.remove(client, chosen)
        if chosen == ours:
            _forget(database)
        elif not was_there:
            raise NotFound(f"Genesys Cloud has no webhook {chosen}: see crm-sync webhook show.")
    log.info("webhook_removed", webhook_id=chosen)
    return chosen


def _bring_in_line(client: GenesysClient, database: Database, wanted: _Wanted, keep: Callable[[], None]) -> Outcome:
    known = _find(database)
    found = webhooks.registered(client)
    is_known = known is not None and hmac.compare_digest(known.fingerprint, wanted.fingerprint)
    remote_id = None if known is None else known.remote_id
    if found is None and is_known:
        # This server cannot tell what it has, and another POST would make a second webhook.
        return Outcome(action="unchanged", webhook_id=remote_id, url=wanted.url)
    ours = _choose(found or [], wanted, remote_id)
    if ours is None:
        keep()
        return Outcome(action="created", webhook_id=_create(client, wanted, has_list=found is not None), url=wanted.url)
    is_same = (ours.name, ours.url, set(ours.events)) == (wanted.name, wanted.url, set(_EVENTS))
    if is_same and is_known and ours.id == remote_id:
        return Outcome(action="unchanged", webhook_id=ours.id, url=wanted.url)
    keep()
    # Also when only the secret may differ: it is never shown, so nothing but our own memory vouches for it.
    webhooks.replace(
        client, ours.id, name=wanted.name, url=wanted.url, events=_EVENTS, secret=wanted.secret.get_secret_value()
    )
    return Outcome(action="updated", webhook_id=ours.id, url=wanted.url)


def _create(client: GenesysClient, wanted: _Wanted, *, has_list: bool) -> str | None:
    try:
        return webhooks.create(
            client, name=wanted.name, url=wanted.url, events=_EVENTS, secret=wanted.secret.get_secret_value()
        )
    except AdapterFailure as error:
        if error.fault.kind is not Kind.AMBIGUOUS or not has_list:
            raise
        # The answer was lost. There was none of ours before, so one that is there now is what we made.
        ours = _choose(webhooks.registered(client) or [], wanted, None)
        if ours is None:
            raise
        return ours.id


def _choose(found: list[Webhook], wanted: _Wanted, remote_id: str | None) -> Webhook | None:
    """Return the webhook that is ours: by the id we remember, else by its address.

    Never by its name alone: another installation in the same organization may have given it the same.
    """
    at_our_url = [webhook for webhook in found if webhook.url.rstrip("/") == wanted.url]
    if len(at_our_url) > 1:
        log.warning("webhook_registered_twice", webhook_ids=[webhook.id for webhook in at_our_url])
    remembered = [webhook for webhook in found if webhook.id == remote_id]
    ours = next(iter([*remembered, *at_our_url]), None)
    if ours is None and (namesakes := [webhook.url for webhook in found if webhook.name == wanted.name]):
        log.warning("webhook_name_is_taken", name=wanted.name, urls=namesakes)
    return ours


def _client(services: Services) -> GenesysClient:
    if services.genesys is None:
        raise SetupError("GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set: set both, then try again.")
    return services.genesys


def _wanted(settings: Settings) -> _Wanted:
    if settings.public_url is None:
        raise SetupError("PUBLIC_URL is not set: set it to the address at which Genesys Cloud reaches this service.")
    if not settings.webhook_secrets:
        raise SetupError("WEBHOOK_SECRETS is not set: set it to the secret that shall sign events.")
    url, secret = settings.public_url + webhooks.OUR_PATH, settings.webhook_secrets[0]
    described = json.dumps([url, sorted(_EVENTS)]).encode()
    fingerprint = hmac.new(secret.get_secret_value().encode(), described, hashlib.sha256).hexdigest()
    return _Wanted(name=settings.genesys.webhook_name, url=url, secret=secret, fingerprint=fingerprint)


@contextmanager
def _lease(database: Database) -> Iterator[Callable[[], None]]:
    """Be the one process that registers; yields what to call before a write, to be sure that one still is."""
    holder = secrets.token_hex(16)

    def acquire() -> bool:
        with database.write() as connection:
            return leases.acquire(connection, _NAME, holder=holder, seconds=LEASE_SECONDS)

    def extend() -> bool:
        with database.write() as connection:
            return leases.extend(connection, _NAME, holder=holder, seconds=LEASE_SECONDS)

    def release() -> None:
        with database.write() as connection:
            leases.release(connection, _NAME, holder=holder)

    def keep() -> None:
        if not database.run(extend):
            raise Unavailable("The registration took too long and was left to another process.")

    if not database.run(acquire):
        raise Unavailable("Another process is registering the webhook: try again in a minute.")
    try:
        yield keep
    finally:
        with suppress(Unavailable):
            database.run(release)


def _find(database: Database) -> Registration | None:
    def work() -> Registration | None:
        with database.read() as connection:
            return registrations.find(connection, _NAME)

    return database.run(work)


def _write_success(database: Database, outcome: Outcome, wanted: _Wanted) -> None:
    def work() -> None:
        with database.write() as connection:
            known = registrations.find(connection, _NAME)
            if outcome.action == "unchanged" and known is not None and known.state == "registered":
                return
            registrations.succeed(
                connection, _NAME, remote_id=outcome.webhook_id, url=wanted.url, fingerprint=wanted.fingerprint
            )

    database.run(work)


def _write_failure(database: Database, url: str, error: str) -> None:
    def work() -> None:
        with database.write() as connection:
            registrations.fail(connection, _NAME, url=url, error=error)

    database.run(work)


def _note_impossible(services: Services, error: str) -> None:
    with suppress(CrmSyncError):
        _write_failure(services.database, services.settings.public_url or "", error)


def _forget(database: Database) -> None:
    def work() -> None:
        with database.write() as connection:
            registrations.forget(connection, _NAME)

    database.run(work)
