"""Calls of Genesys Cloud's API: a token on each, one renewal when it is refused, and faults that tell the remedy."""

import json as jsonlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Self

import stamina
import structlog

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, failure
from crm_sync.genesys.auth import Sender, Tokens
from crm_sync.genesys.breaker import Breaker
from crm_sync.settings import GenesysSettings
from crm_sync.transport import HTTPTransport, Response, fault_of

TIMEOUT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 20.0
"""The longest `Retry-After` that a caller is kept waiting for; a longer one is reported at once."""

# A list of conversations brings all their attributes, 40 KB each.
MAX_ANSWER_BYTES = 16 * 1024 * 1024

_READS = stamina.RetryingCaller(attempts=3, timeout=30.0, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5)
_PASSING = frozenset(
    ("http_429", "http_502", "http_503", "http_504", "unreachable", "timeout", "connection_lost")
)  # fmt: skip
_BROKEN = frozenset(("unreachable", "tls_failed", "timeout", "connection_lost"))

log = structlog.get_logger(__name__)


class GenesysClient:
    """Asks Genesys Cloud, for any number of threads or greenlets. Raises AdapterFailure for all but a 2xx."""

    def __init__(
        self,
        *,
        api_url: str,
        tokens: Tokens,
        sender: Callable[[float], Sender],
        breaker: Breaker | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """Take `sender`, which makes what sends requests within a number of seconds."""
        self._api_url = api_url
        self._tokens = tokens
        self._sender = sender
        self._senders: dict[float, Sender] = {}
        self._breaker = breaker or Breaker(now=now)
        self._now = now

    @classmethod
    def from_settings(cls, settings: GenesysSettings) -> Self | None:
        """Return a client, or None where the settings hold no credentials. Connects to nothing yet."""
        if settings.client_id is None or settings.client_secret is None:
            return None
        tokens = Tokens(
            url=settings.token_url,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            sender=_transport(TIMEOUT_SECONDS),
        )
        return cls(api_url=settings.api_url, tokens=tokens, sender=_transport)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: JSON = None,
        params: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        is_read: bool | None = None,
        malformed: str = "compare it with what this version of crm-sync was made for",
    ) -> Response:
        """Return the answer to a call of the API, always a 2xx.

        A read (a GET, unless `is_read` says otherwise) is tried three times where another try may help; a write never.
        Its fault is AMBIGUOUS when it may have been done. `malformed` is the remedy that a 400 is reported with.
        """
        once = partial(self._once, method, path, json, params, timeout_seconds, malformed)
        if not (method == "GET" if is_read is None else is_read):
            return once(is_read=False)
        return _READS(partial(wait_before_retry, now=self._now), partial(once, is_read=True))

    def close(self) -> None:
        """Close the idle connections; harmless when repeated."""
        self._tokens.close()
        for sender in list(self._senders.values()):
            sender.close()

    def _once(
        self,
        method: str,
        path: str,
        json: JSON,
        params: Mapping[str, str] | None,
        timeout_seconds: float,
        malformed: str,
        *,
        is_read: bool,
    ) -> Response:
        self._breaker.check()
        body = None if json is None else encode(json)
        try:
            response = self._authorised(method, path, body, params, timeout_seconds)
        except AdapterFailure as error:
            if error.fault.code in _BROKEN or error.fault.code.startswith("http_5"):
                self._breaker.failed()
            log.warning("genesys_unanswered", method=method, path=path, code=error.fault.code)
            raise
        if response.status >= 500:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        _note(method, path, json, body, response)
        if response.is_success:
            return response
        fault = fault_of(response, now=self._now(), idempotent=is_read)
        raise failure(replace(fault, message=_sentence(response, fault, malformed)))

    def _authorised(
        self, method: str, path: str, body: bytes | None, params: Mapping[str, str] | None, timeout_seconds: float
    ) -> Response:
        sender = self._senders.get(timeout_seconds)
        if sender is None:
            # Two threads may both make one; the one that loses is used by nobody and holds no connection.
            sender = self._senders.setdefault(timeout_seconds, self._sender(timeout_seconds))
        url = self._api_url + path
        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        token = self._tokens.get()
        response = sender.send(method, url, headers=headers | _bearer(token), body=body, params=params)
        if response.status == 401:
            # A refused request was not done, so that sending it once more is safe for writes too.
            self._tokens.invalidate(token)
            headers |= _bearer(self._tokens.get())
            response = sender.send(method, url, headers=headers, body=body, params=params)
        return response


def encode(value: JSON) -> bytes:
    """Return compact UTF-8 JSON, as it is sent and as its size is counted; raises ValueError for NaN and infinity."""
    return jsonlib.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def wait_before_retry(error: Exception, *, now: Callable[[], datetime]) -> bool | float:
    """Return whether a read that failed like this is worth another try, or after how many seconds it is."""
    if not isinstance(error, AdapterFailure) or error.fault.code not in _PASSING:
        return False
    if error.fault.retry_at is None:
        return True
    seconds = max(0.0, (error.fault.retry_at - now()).total_seconds())
    return seconds if seconds <= LONGEST_WAIT_SECONDS else False


def not_understood(what: str) -> AdapterFailure:
    """Return the failure for a 2xx whose body is not what the API promises: it may have been done."""
    message = f"Genesys Cloud answered {what} in a form that this version does not understand: check GENESYS_API_URL."
    return failure(Fault(kind=Kind.AMBIGUOUS, code="not_understood", message=message))


_CODE = re.compile(r"[a-z][a-z0-9._]{0,60}")
_REMEDIES = {
    401: (
        "Genesys Cloud refused even a new access token (HTTP 401): check GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET, "
        "and that GENESYS_API_URL and GENESYS_LOGIN_URL belong together."
    ),
    403: (
        "Genesys Cloud does not allow this OAuth client to do that (HTTP 403): grant it the scopes "
        "conversations:write, integrations:write and analytics:conversation:view, and see that the admin console shows "
        "it as enabled."
    ),
    404: "Genesys Cloud has no such thing at this address (HTTP 404): check GENESYS_REGION and GENESYS_API_URL.",
    429: (
        "Genesys Cloud limits our rate (HTTP 429): wait as long as its Retry-After says, or back off, and spread the "
        "load over several OAuth clients when one is not enough."
    ),
}


def _transport(seconds: float) -> Sender:
    return HTTPTransport(
        allow_private=True, read_seconds=seconds, total_seconds=seconds, max_answer_bytes=MAX_ANSWER_BYTES
    )


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _note(method: str, path: str, json: JSON, body: bytes | None, response: Response) -> None:
    """Log the call: of what was sent and answered only names, sizes and codes, since the rest is people's own words."""
    fields = {
        "method": method,
        "path": path,
        "status": response.status,
        "correlation_id": response.headers.get("inin-correlation-id"),
    }
    if response.is_success:
        log.info("genesys_answered", **fields)
        return
    fields |= {
        "sent_fields": sorted(json) if isinstance(json, dict) else [],
        "sent_bytes": len(body or b""),
        "answered_code": _vendor_code(response),
        "answered_bytes": len(response.body),
    }
    log.warning("genesys_refused", **fields)


def _vendor_code(response: Response) -> str | None:
    try:
        answer = response.json()
    except AdapterFailure:
        return None
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _sentence(response: Response, fault: Fault, malformed: str) -> str:
    status = response.status
    if status == 400:
        return f"Genesys Cloud found the request malformed (HTTP 400): {malformed}."
    if status in _REMEDIES:
        return _REMEDIES[status]
    if status >= 500:
        named = f" and name the correlation id {fault.vendor_request_id}" if fault.vendor_request_id else ""
        return (
            f"Genesys Cloud failed (HTTP {status}): try again later and ever more slowly; if it persists over several "
            f"requests, contact its support{named}."
        )
    return f"Genesys Cloud refused the request (HTTP {status}): {malformed}."
