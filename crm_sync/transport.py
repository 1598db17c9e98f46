"""The shared way out over HTTP: deadlines, a cap on answers, the address that was checked, and what an answer means.

A requests adapter without a session around it. So nothing is taken from the environment, no redirect is followed, no
cookie is kept, nothing is sent twice, and threads may share it.
"""

import email.utils
import http.client
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import urlsplit

import requests
import structlog
import urllib3
from pydantic_core import from_json
from requests.structures import CaseInsensitiveDict

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.connections import Call, GuardedAdapter, during
from crm_sync.errors import AdapterFailure, Fault, Kind, failure

MAX_ANSWER_BYTES = 1024 * 1024
SHORTEST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(hours=1)

log = structlog.get_logger(__name__)

# At debug level urllib3 writes the path and query of every request, and those can hold a secret.
logging.getLogger("urllib3").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete answer. Header names match in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300

    def json(self) -> JSON:
        """Return the decoded body; raises an AMBIGUOUS failure when it is not JSON."""
        try:
            return cast(JSON, from_json(self.body, allow_inf_nan=False))
        except ValueError:
            pass
        raise failure(Fault(kind=Kind.AMBIGUOUS, code="not_json", message="The answer was to be JSON, and is not."))


class HTTPTransport:
    """Sends requests. One instance serves any number of threads or greenlets.

    `allow_private=False` refuses to connect to loopback, private, link-local and other addresses that are not public,
    whatever name they hide behind. `ca_file` is a certificate bundle to trust in place of the usual one.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        connect_seconds: float = 5,
        read_seconds: float = 15,
        total_seconds: float = 20,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        ca_file: str | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._total_seconds = total_seconds
        self._max_answer_bytes = max_answer_bytes
        self._verify: bool | str = ca_file or True
        self._adapter = GuardedAdapter(pool_maxsize=32)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the answer, whatever its status.

        Raises AdapterFailure: RETRYABLE when nothing was sent, AMBIGUOUS when it may have arrived, CONFIG for a URL or
        an address that is not acceptable, DATA for a header that cannot be sent.
        """
        prepared = _prepare(method, url, headers=headers, body=body, params=params)
        call = Call(
            deadline=clock.monotonic() + self._total_seconds,
            connect_seconds=self._connect_seconds,
            read_seconds=self._read_seconds,
            allow_private=self._allow_private,
        )
        try:
            with during(call):
                return self._exchange(prepared)
        except AdapterFailure:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            fault = _fault_of_exchange(error, call)
        except UnicodeError:
            fault = _BAD_HEADER
        # Without the cause: the libraries quote the URL in their messages, and it can hold a secret.
        raise failure(fault) from None

    def close(self) -> None:
        """Close the idle connections; harmless when repeated."""
        self._adapter.close()

    def _exchange(self, prepared: requests.PreparedRequest) -> Response:
        timeout = (self._connect_seconds, self._read_seconds)
        answer = self._adapter.send(prepared, stream=True, timeout=timeout, verify=self._verify)
        try:
            body = bytearray()
            for chunk in answer.raw.stream(65536, decode_content=True):
                body += chunk
                if len(body) > self._max_answer_bytes:
                    raise failure(_TOO_LARGE)
        except BaseException:
            # Only a connection whose answer was read to its end can be used again.
            answer.raw.close()
            raise
        finally:
            answer.raw.release_conn()
        headers: CaseInsensitiveDict[str] = answer.headers
        return Response(status=answer.status_code, headers=headers, body=bytes(body))


def classify(status: int, headers: Mapping[str, str], *, names_record: bool = False, idempotent: bool = True) -> Kind:
    """Return what an answer that is not a 2xx means when its body says nothing.

    `names_record`: the URL names one record, so that 404 means that it is gone. `idempotent`: sending again does no
    harm, so that a 5xx need not be looked into.
    """
    if status in _KINDS:
        return _KINDS[status]
    if status == 404:
        return Kind.GONE if names_record else Kind.CONFIG
    if status == 503 and "retry-after" in headers:
        return Kind.RATE_LIMITED
    if 300 <= status < 400:
        return Kind.CONFIG
    if 500 <= status < 600:
        return Kind.RETRYABLE if idempotent else Kind.AMBIGUOUS
    log.warning("unknown_answer", status=status)
    return Kind.RETRYABLE


def fault_of(response: Response, *, now: datetime, names_record: bool = False, idempotent: bool = True) -> Fault:
    """Return the fault of an answer that is not a 2xx when its body says nothing; `classify` decides its kind."""
    kind = classify(response.status, response.headers, names_record=names_record, idempotent=idempotent)
    return Fault(
        kind=kind,
        code=f"http_{response.status}",
        message=f"The answer was HTTP {response.status}.",
        retry_at=parse_retry_after(response.headers.get("retry-after"), now),
        vendor_request_id=_request_id(response.headers),
    )


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """Return when to try again, between one second and one hour from now; None when the value says nothing."""
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", value):
        return now + _clamp(timedelta(seconds=min(float(value), LONGEST_WAIT.total_seconds())))
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return now + _clamp(at - now)


_KINDS = {
    400: Kind.DATA,
    401: Kind.AUTH,
    403: Kind.CONFIG,
    405: Kind.CONFIG,
    408: Kind.RETRYABLE,
    409: Kind.CONFLICT,
    410: Kind.GONE,
    412: Kind.CONFLICT,
    413: Kind.DATA,
    415: Kind.CONFIG,
    422: Kind.DATA,
    423: Kind.RETRYABLE,
    425: Kind.RETRYABLE,
    429: Kind.RATE_LIMITED,
    501: Kind.CONFIG,
}
_REQUEST_ID_HEADERS = ("x-request-id", "inin-correlation-id", "x-correlation-id")
_TOO_LARGE = Fault(kind=Kind.AMBIGUOUS, code="answer_too_large", message="The answer was larger than we read.")
_BAD_HEADER = Fault(kind=Kind.DATA, code="bad_header", message="A header would hold characters that no header may.")
_BAD_URL = Fault(kind=Kind.CONFIG, code="bad_url", message="The URL is not a usable http or https address.")


def _clamp(wait: timedelta) -> timedelta:
    return max(SHORTEST_WAIT, min(wait, LONGEST_WAIT))


def _request_id(headers: Mapping[str, str]) -> str | None:
    for name in _REQUEST_ID_HEADERS:
        if re.fullmatch(r"[\w.:/=+-]{1,100}", headers.get(name, ""), re.ASCII):
            return headers[name]
    return None


def _prepare(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None,
    body: bytes | None,
    params: Mapping[str, str] | None,
) -> requests.PreparedRequest:
    # An answer is asked for as it is: a small one that unpacks to a gigabyte is then the sender's own doing.
    defaults = {"User-Agent": "crm-sync", "Accept-Encoding": "identity"}
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc:
            parts.hostname.encode("idna")
            request = requests.Request(method, url, headers={**defaults, **(headers or {})}, data=body, params=params)
            return request.prepare()
        fault = _BAD_URL
    except requests.exceptions.InvalidHeader:
        fault = _BAD_HEADER
    except (requests.RequestException, ValueError):
        fault = _BAD_URL
    raise failure(fault) from None


def _fault_of_exchange(error: Exception, call: Call) -> Fault:
    if isinstance(error, requests.exceptions.InvalidURL | urllib3.exceptions.LocationValueError):
        return _BAD_URL
    if not call.was_sent:
        code = "tls_failed" if isinstance(error, requests.exceptions.SSLError) else "unreachable"
        return Fault(kind=Kind.RETRYABLE, code=code, message="No connection could be made; nothing was sent.")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return Fault(kind=Kind.AMBIGUOUS, code="timeout", message="The request was sent, and no answer came in time.")
    return Fault(kind=Kind.AMBIGUOUS, code="connection_lost", message="The request was sent, and the answer broke off.")
