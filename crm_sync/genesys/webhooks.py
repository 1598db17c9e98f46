"""Webhooks registered at Genesys Cloud by the tutorial's contract, with the list, update and removal we add to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fault
from urllib.parse import quote

from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, failure
from crm_sync.genesys.client import GenesysClient, not_understood
from crm_sync.transport import Response

OUR_PATH = "/webhooks/genesys"
"""Where Genesys Cloud posts its events, below `PUBLIC_URL`."""

ENDED = "conversation:ended"
"""The event that tells that a conversation has ended."""

_PATH = "/api/v2/integrations/webhooks"
_ABSENT = ("http_404", "http_405")
_LONGEST_ID = 200
_NO_WEBHOOKS = (
    "This Genesys Cloud has no webhooks to register, as the real platform has none: set GENESYS_REGISTRATION=trigger, "
    "see docs/genesys-setup.md, or correct GENESYS_API_URL."
)
_MALFORMED = "check that PUBLIC_URL is the whole address of this service and that WEBHOOK_SECRETS are set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as Genesys Cloud lists it. Its secret is never shown."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]


def registered(client: GenesysClient) -> list[Webhook] | None:
    """Return all webhooks, or None where the server has no list of them."""
    try:
        answer = client.request("GET", _PATH).json()
    except AdapterFailure as error:
        if error.fault.code in _ABSENT:
            return None
        raise
    entities = answer.get("entities") if isinstance(answer, dict) else None
    if not isinstance(entities, list):
        raise not_understood("the list of webhooks")
    return [webhook for entity in entities if (webhook := _read(entity)) is not None]


def create(client: GenesysClient, *, name: str, url: str, events: Sequence[str], secret: str) -> str | None:
    """Register a webhook and return its id, or None where the answer tells none. Its answer may get lost: AMBIGUOUS."""
    body = _body(name, url, events, secret)
    try:
        return _id_in(client.request("POST", _PATH, json=body, malformed=_MALFORMED))
    except AdapterFailure as error:
        if error.fault.code not in _ABSENT:
            raise
        raise failure(replace_fault(error.fault, message=_NO_WEBHOOKS)) from error


def replace(client: GenesysClient, webhook_id: str, *, name: str, url: str, events: Sequence[str], secret: str) -> None:
    """Make a registered webhook the one described; harmless when repeated."""
    body = _body(name, url, events, secret)
    client.request("PUT", _path_of(webhook_id), json=body, malformed=_MALFORMED)


def remove(client: GenesysClient, webhook_id: str) -> bool:
    """Remove a webhook; return whether there was one."""
    try:
        client.request("DELETE", _path_of(webhook_id))
    except AdapterFailure as error:
        if error.fault.code in ("http_404", "http_410"):
            return False
        raise
    return True


def _body(name: str, url: str, events: Sequence[str], secret: str) -> JSON:
    described: dict[str, JSON] = {"name": name, "url": url, "events": list(events)}
    return described | ({"secret": secret} if secret else {})


def _path_of(webhook_id: str) -> str:
    return f"{_PATH}/{quote(webhook_id, safe='')}"


def _read(entity: JSON) -> Webhook | None:
    match entity:
        case {"id": str(webhook_id), "name": str(name), "url": str(url), "events": list(events)}:
            known = tuple(event for event in events if isinstance(event, str))
            return Webhook(id=webhook_id, name=name, url=url, events=known)
    return None


def _id_in(response: Response) -> str | None:
    # The contract leaves the answer's body open, so one without an id, or without any body, is no fault.
    try:
        answer = response.json()
    except AdapterFailure:
        return None
    webhook_id = answer.get("id") if isinstance(answer, dict) else None
    return webhook_id if isinstance(webhook_id, str) and 0 < len(webhook_id) <= _LONGEST_ID else None
