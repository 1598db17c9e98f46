"""Virtual-agent conversations at Genesys Cloud: how many are active, which is ours, and how one is started."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure
from crm_sync.genesys.client import LONGEST_WAIT_SECONDS, GenesysClient, not_understood
from crm_sync.genesys.session_request import SESSION_ID

ATTEMPTS = 3
"""How often a start is sent when it meets the rate limit. It is sent again for no other reason."""

_PATH = "/api/v2/conversations"
_START_SECONDS = 15.0
_LONGEST_ID = 200
_MALFORMED = "keep the attributes under 40 KB and see that to, from and type are there"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """A bot's active conversations: their number, and the ids of those that we started, by our session id."""

    count: int
    ours: dict[str, str]


def active(client: GenesysClient, bot_id: str) -> Active:
    """Return the active conversations of a bot."""
    answer = client.request("GET", _PATH, params={"to.id": bot_id, "state": "active"}).json()
    if not isinstance(answer, dict):
        raise not_understood("the count of active conversations")
    entities, total = answer.get("entities"), answer.get("total")
    listed = entities if isinstance(entities, list) else None
    if isinstance(total, int) and not isinstance(total, bool):
        count = total
    elif listed is not None:
        count = len(listed)
    else:
        raise not_understood("the count of active conversations")
    return Active(count=count, ours=dict(pair for entity in listed or [] if (pair := _ours(entity)) is not None))


def start(client: GenesysClient, body: dict[str, JSON], *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Start a conversation and return its id.

    Raises AdapterFailure; one of kind AMBIGUOUS means that the conversation may have been started all the same.
    """
    for attempt in range(ATTEMPTS):
        try:
            response = client.request("POST", _PATH, json=body, timeout_seconds=_START_SECONDS, malformed=_MALFORMED)
            break
        except AdapterFailure as error:
            seconds = _wait(error, attempt, now=clock.now())
            if seconds is None:
                raise
        log.info("session_start_waits", attempt=attempt + 1, seconds=seconds)
        sleep(seconds)
    conversation_id = _id_of(response.json())
    if conversation_id is None:
        raise not_understood("the start of a conversation")
    return conversation_id


def _wait(error: AdapterFailure, attempt: int, *, now: datetime) -> float | None:
    """Return for how long to wait before the start is sent again, None when it is not."""
    if error.fault.code != "http_429" or attempt + 1 == ATTEMPTS:
        return None
    asked = error.fault.retry_at
    # Rounded up, because the second that has begun since the answer would otherwise be taken from the wait.
    seconds = math.ceil((asked - now).total_seconds()) if asked is not None else 2**attempt
    return float(seconds) if seconds <= LONGEST_WAIT_SECONDS else None


def _ours(entity: JSON) -> tuple[str, str] | None:
    attributes = entity.get("attributes") if isinstance(entity, dict) else None
    session_id = attributes.get(SESSION_ID) if isinstance(attributes, dict) else None
    found = _id_of(entity)
    return (session_id, found) if isinstance(session_id, str) and found is not None else None


def _id_of(conversation: JSON) -> str | None:
    found = conversation.get("id") if isinstance(conversation, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID and "\0" not in found else None
