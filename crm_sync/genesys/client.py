"""Calls of Genesys Cloud's API: a token on each, one renewal when it is refused, and faults that tell the remedy."""

import json as jsonlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Self

import stamina
import structlog

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, SetupError, failure
from crm_sync.genesys import problems
from crm_sync.genesys.auth import Sender, Tokens
from crm_sync.genesys.breaker import Breaker
from crm_sync.genesys.limiter import Limiter, OAuthClient, OAuthClients
from crm_sync.settings_genesys import ClientSettings, Dialect, GenesysSettings
from crm_sync.transport import HTTPTransport, Response, fault_of, parse_retry_after

TIMEOUT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 20.0
"""The longest that a caller is kept waiting, for a permit or by a `Retry-After`, unless it has more patience."""

# A list of conversations brings all their attributes, 40 KB each.
MAX_ANSWER_BYTES = 16 * 1024 * 1024

_READS = stamina.RetryingCaller(attempts=3, timeout=None, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5)
_REPEATABLE = ("GET", "HEAD", "PUT", "DELETE")
_PASSING = frozenset(
    ("http_429", "http_502", "http_503", "http_504", "unreachable", "timeout", "connection_lost")
)  # fmt: skip
_BROKEN = frozenset(("unreachable", "tls_failed", "timeout", "connection_lost"))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call, as often as it is sent."""

    method: str
    path: str
    json: JSON
    params: Mapping[str, str] | None
    timeout_seconds: float
    patience_seconds: float
    malformed: str
    is_repeatable: bool

    @property
    def body(self) -> bytes | None:
        return None if self.json is None else encode(self.json)


class GenesysClient:
    """Asks Genesys Cloud, for any number of threads or greenlets. Raises AdapterFailure for all but a 2xx.

    `dialect` tells which of the two contracts it speaks; the calls are made alike.
    """

    def __init__(
        self,
        *,
        api_url: str,
        clients: OAuthClients,
        sender: Callable[[float], Sender],
        dialect: Dialect = "platform",
        breaker: Breaker | None = None,
        now: Callable[[], datetime] = clock.now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take `sender`, which makes what sends requests within a number of seconds."""
        self.dialect = dialect
        self._api_url = api_url
        self._clients = clients
        self._sender = sender
        self._senders: dict[float, Sender] = {}
        self._breaker = breaker or Breaker(now=now)
        self._now = now
        self._sleep = sleep

    @classmethod
    def from_settings(cls, settings: GenesysSettings) -> Self | None:
        """Return a client, or None where the settings hold no credentials. Connects to nothing yet."""
        if not settings.clients:
            return None
        clients = OAuthClients([_oauth_client(client, settings) for client in settings.clients])
        return cls(api_url=settings.api_url, clients=clients, sender=_transport, dialect=settings.dialect)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: JSON = None,
        params: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        patience_seconds: float = LONGEST_WAIT_SECONDS,
        is_repeatable: bool | None = None,
        malformed: str = "compare it with what this version of crm-sync was made for",
    ) -> Response:
        """Return the answer to a call of the API, always a 2xx.

        A repeatable call (all but POST and PATCH, unless told) is tried three times where another try may help;
        another one never. Its fault is AMBIGUOUS when it may have been done. `patience_seconds` is how long each try
        may wait for its turn. `malformed` is the remedy that a 400 is reported with.
        """
        call = _Call(
            method=method,
            path=path,
            json=json,
            params=params,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            malformed=malformed,
            is_repeatable=method in _REPEATABLE if is_repeatable is None else is_repeatable,
        )
        if not call.is_repeatable:
            return self._once(call)
        return _READS(partial(self._before_retry, call), partial(self._once, call))

    def close(self) -> None:
        """Close the idle connections; harmless when repeated."""
        self._clients.close()
        for sender in list(self._senders.values()):
            sender.close()

    def _once(self, call: _Call) -> Response:
        self._breaker.check()
        try:
            response = self._authorised(call)
        except AdapterFailure as error:
            if error.fault.code in _BROKEN or error.fault.code.startswith("http_5"):
                self._breaker.failed()
            log.warning("genesys_unanswered", method=call.method, path=call.path, code=error.fault.code)
            raise
        if response.status >= 500:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        _note(call, response)
        if response.is_success:
            return response
        fault = fault_of(response, now=self._now(), idempotent=call.is_repeatable)
        raise failure(replace(fault, message=problems.sentence(response, fault, call.malformed)))

    def _authorised(self, call: _Call) -> Response:
        sender = self._senders.get(call.timeout_seconds)
        if sender is None:
            # Two threads may both make one; the one that loses is used by nobody and holds no connection.
            sender = self._senders.setdefault(call.timeout_seconds, self._sender(call.timeout_seconds))
        body = call.body
        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        client = self._take_turn(call.patience_seconds)
        for is_last in (False, True):
            token = client.tokens.get()
            response = sender.send(
                call.method,
                self._api_url + call.path,
                headers=headers | {"Authorization": f"Bearer {token}"},
                body=body,
                params=call.params,
            )
            if response.status != 401 or is_last:
                break
            # A refused request was not done, so that sending it once more is safe for writes too.
            client.tokens.invalidate(token)
            client.limiter.take(0)
        self._rest(client, response)
        return response

    def _take_turn(self, patience: float) -> OAuthClient:
        client, wait = self._clients.take(patience)
        if wait > patience:
            message = (
                f"The calls that Genesys Cloud allows in a minute are used up for {wait:.0f} s: wait, or spread them "
                "over more OAuth clients with more_clients in [genesys]."
            )
            retry_at = self._now() + timedelta(seconds=wait)
            raise failure(Fault(kind=Kind.RATE_LIMITED, code="limit_kept", message=message, retry_at=retry_at))
        if wait > 0:
            self._sleep(wait)
        return client

    def _rest(self, client: OAuthClient, response: Response) -> None:
        if response.status == 429:
            retry_at = parse_retry_after(response.headers.get("retry-after"), self._now())
            client.limiter.rest(0.0 if retry_at is None else (retry_at - self._now()).total_seconds())

    def _before_retry(self, call: _Call, error: Exception) -> bool | float:
        if isinstance(error, AdapterFailure) and error.fault.code == "http_429" and self._clients.wait() == 0.0:
            return True  # Whoever was refused rests; another of our OAuth clients does not.
        return wait_before_retry(error, now=self._now, patience=call.patience_seconds)


def required(client: GenesysClient | None) -> GenesysClient:
    """Return the client; raises SetupError where the settings hold no credentials."""
    if client is None:
        raise SetupError("GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set: set both, then try again.")
    return client


def encode(value: JSON) -> bytes:
    """Return compact UTF-8 JSON, as it is sent and as its size is counted; raises ValueError for NaN and infinity."""
    return jsonlib.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def wait_before_retry(
    error: Exception, *, now: Callable[[], datetime], patience: float = LONGEST_WAIT_SECONDS
) -> bool | float:
    """Return whether a call that failed like this is worth another try, or after how many seconds it is."""
    if not isinstance(error, AdapterFailure) or error.fault.code not in _PASSING:
        return False
    if error.fault.retry_at is None:
        return True
    seconds = max(0.0, (error.fault.retry_at - now()).total_seconds())
    return seconds if seconds <= patience else False


def not_understood(what: str) -> AdapterFailure:
    """Return the failure for a 2xx whose body is not what the API promises: it may have been done."""
    message = f"Genesys Cloud answered {what} in a form that this version does not understand: check GENESYS_API_URL."
    return failure(Fault(kind=Kind.AMBIGUOUS, code="not_understood", message=message))


def _transport(seconds: float) -> Sender:
    return HTTPTransport(
        allow_private=True, read_seconds=seconds, total_seconds=seconds, max_answer_bytes=MAX_ANSWER_BYTES
    )


def _oauth_client(client: ClientSettings, settings: GenesysSettings) -> OAuthClient:
    tokens = Tokens(
        url=settings.token_url,
        client_id=client.client_id,
        client_secret=client.client_secret,
        sender=_transport(TIMEOUT_SECONDS),
        dialect=settings.dialect,
    )
    return OAuthClient(tokens=tokens, limiter=Limiter(settings.requests_per_minute))


def _note(call: _Call, response: Response) -> None:
    """Log the call: of what was sent and answered only names, sizes and codes, since the rest is people's own words."""
    fields = {
        "method": call.method,
        "path": call.path,
        "status": response.status,
        "correlation_id": response.headers.get("inin-correlation-id"),
    }
    if response.is_success:
        log.info("genesys_answered", **fields)
        return
    fields |= {
        "sent_fields": sorted(call.json) if isinstance(call.json, dict) else [],
        "sent_bytes": len(call.body or b""),
        "answered_code": problems.code(response),
        "answered_bytes": len(response.body),
    }
    log.warning("genesys_refused", **fields)
