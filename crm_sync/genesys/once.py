"""Calls of Genesys Cloud that must not be done twice: sent again only where the rate limit refused them."""

import math
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure
from crm_sync.genesys.client import LONGEST_WAIT_SECONDS, GenesysClient
from crm_sync.transport import Response

ATTEMPTS = 3
"""How often a call is sent when it meets the rate limit. It is sent again for no other reason."""

_SECONDS = 15.0
_LONGEST_ID = 200

log = structlog.get_logger(__name__)


def post(
    client: GenesysClient,
    path: str,
    body: dict[str, JSON],
    *,
    malformed: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Response:
    """Return the answer; raises AdapterFailure, of kind AMBIGUOUS where it may have been done all the same."""
    for attempt in range(ATTEMPTS):
        try:
            return client.request("POST", path, json=body, timeout_seconds=_SECONDS, malformed=malformed)
        except AdapterFailure as error:
            seconds = _wait(error, attempt, now=clock.now())
            if seconds is None:
                raise
        log.info("session_call_waits", path=path, attempt=attempt + 1, seconds=seconds)
        sleep(seconds)
    raise AssertionError("the last attempt is answered or raises")


def id_of(thing: JSON) -> str | None:
    """Return the id of what Genesys Cloud made, None where there is none that can be kept."""
    found = thing.get("id") if isinstance(thing, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID and "\0" not in found else None


def _wait(error: AdapterFailure, attempt: int, *, now: datetime) -> float | None:
    """Return for how long to wait before the call is sent again, None when it is not."""
    if error.fault.code != "http_429" or attempt + 1 == ATTEMPTS:
        return None
    asked = error.fault.retry_at
    # Rounded up, because the second that has begun since the answer would otherwise be taken from the wait.
    seconds = math.ceil((asked - now).total_seconds()) if asked is not None else 2**attempt
    return float(seconds) if seconds <= LONGEST_WAIT_SECONDS else None
