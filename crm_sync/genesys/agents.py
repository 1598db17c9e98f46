"""Virtual-agent conversations by the tutorial's contract: how many are active, which is ours, how one is started."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from crm_sync.closure import JSON
from crm_sync.genesys import once
from crm_sync.genesys.client import GenesysClient, not_understood
from crm_sync.genesys.session_request import SESSION_ID

_PATH = "/api/v2/conversations"
_MALFORMED = "keep the attributes under 40 KB and see that to, from and type are there"


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
    conversation_id = once.id_of(once.post(client, _PATH, body, malformed=_MALFORMED, sleep=sleep).json())
    if conversation_id is None:
        raise not_understood("the start of a conversation")
    return conversation_id


def _ours(entity: JSON) -> tuple[str, str] | None:
    attributes = entity.get("attributes") if isinstance(entity, dict) else None
    session_id = attributes.get(SESSION_ID) if isinstance(attributes, dict) else None
    found = once.id_of(entity)
    return (session_id, found) if isinstance(session_id, str) and found is not None else None
