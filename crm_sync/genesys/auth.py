"""Access tokens by OAuth client credentials: one in force, asked for by one caller at a time, renewed in good time."""

import base64
import math
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import urlencode

import structlog
from pydantic import SecretStr

from crm_sync import clock
from crm_sync.errors import AdapterFailure, Fault, Kind, failure
from crm_sync.settings_genesys import Dialect
from crm_sync.transport import Response, fault_of

SCOPES = "conversations:write analytics:conversation:view integrations:write"

_WRONG_CREDENTIALS = (
    "Genesys Cloud does not know this client: check GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET, and that both belong "
    "to the region of GENESYS_REGION."
)

log = structlog.get_logger(__name__)


class Sender(Protocol):
    """What sends one request: `transport.HTTPTransport`, or a fake of it."""

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the answer, whatever its status; raises AdapterFailure when there is none."""
        ...

    def close(self) -> None:
        """Close the idle connections."""
        ...


class Tokens:
    """The token of one OAuth client, shared by all threads or greenlets of the process."""

    def __init__(
        self,
        *,
        url: str,
        client_id: str,
        client_secret: SecretStr,
        sender: Sender,
        dialect: Dialect = "platform",
        monotonic: Callable[[], float] = clock.monotonic,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._sender = sender
        self._dialect = dialect
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0
        self._failed_at = -math.inf
        self._fault: Fault | None = None

    def get(self) -> str:
        """Return a token that will hold for a while yet.

        Raises AdapterFailure, never one of kind AMBIGUOUS: a request that has no token was not sent.
        """
        asked_at = self._monotonic()
        with self._lock:
            if self._token is not None and self._monotonic() < self._renew_at:
                return self._token
            if self._fault is not None and self._failed_at > asked_at:
                # It failed while we waited for the lock: the same question would get the same answer, one by one.
                raise failure(self._fault)
            try:
                return self._renew()
            except AdapterFailure as error:
                self._fault, self._failed_at = error.fault, self._monotonic()
                raise

    def invalidate(self, token: str) -> None:
        """Forget this token, which the API has refused; one that has replaced it meanwhile stays."""
        with self._lock:
            if self._token == token:
                self._token = None

    def close(self) -> None:
        """Close the idle connections."""
        self._sender.close()

    def _renew(self) -> str:
        self._token = None
        asked_at = self._monotonic()
        token, life = _read(self._ask(), now=self._now())
        # Its life is counted from before the question, so that a slow answer does not lengthen it.
        self._token, self._renew_at = token, asked_at + life - min(60.0, life / 10)
        log.info("genesys_access_renewed", life_seconds=life)
        return token

    def _ask(self) -> Response:
        form = {"grant_type": "client_credentials"}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = self._client_secret.get_secret_value()
        if self._dialect == "tutorial":
            form |= {"client_id": self._client_id, "client_secret": secret, "scope": SCOPES}
        else:
            # Its clients have roles; scopes are for other grants.
            basic = base64.b64encode(f"{self._client_id}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {basic}"
        try:
            return self._sender.send("POST", self._url, headers=headers, body=urlencode(form).encode())
        except AdapterFailure as error:
            fault = error.fault
        kind = Kind.RETRYABLE if fault.kind is Kind.AMBIGUOUS else fault.kind
        message = "Genesys Cloud gave no access token, for it cannot be reached: check GENESYS_REGION and the network."
        raise failure(Fault(kind=kind, code=fault.code, message=message))


def _read(response: Response, *, now: datetime) -> tuple[str, float]:
    if response.status in (400, 401):
        raise failure(Fault(kind=Kind.AUTH, code=f"http_{response.status}", message=_WRONG_CREDENTIALS))
    if not response.is_success:
        fault = fault_of(response, now=now)
        message = f"Genesys Cloud gave no access token (HTTP {response.status}): try again later."
        raise failure(Fault(kind=fault.kind, code=fault.code, message=message, retry_at=fault.retry_at))
    try:
        answer = response.json()
    except AdapterFailure:
        answer = None
    token, life = (answer.get("access_token"), answer.get("expires_in")) if isinstance(answer, dict) else (None, None)
    if isinstance(token, str) and token and isinstance(life, int | float) and 0 < life < math.inf:
        return token, float(life)
    message = "What answered at the token address gave no token: check GENESYS_REGION or GENESYS_LOGIN_URL."
    raise failure(Fault(kind=Kind.CONFIG, code="no_token", message=message))
