"""The webhooks of the pretend Genesys Cloud: the tutorial's POST, and as our extension list, read, update, delete."""

import threading
import uuid
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify

from crm_sync.sandbox.bodies import json_body
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject

ENDED = "conversation:ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to post which events. The secret signs and is never shown."""

    id: str
    name: str
    url: str
    events: list[str]
    secret: str = field(default="", repr=False)

    def as_object(self) -> JSONObject:
        return {"id": self.id, "name": self.name, "url": self.url, "events": self.events}


class Webhooks:
    """All registered webhooks, in the order of their registration; two with one name are two webhooks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Webhook] = {}

    def add(self, body: JSONObject) -> Webhook:
        webhook = _read(body, webhook_id=str(uuid.uuid4()), secret="")
        with self._lock:
            self._by_id[webhook.id] = webhook
        return webhook

    def replace(self, webhook_id: str, body: JSONObject) -> Webhook:
        """Replace a webhook; it keeps its secret where the body has none, because no reader could send it back."""
        with self._lock:
            webhook = _read(body, webhook_id=webhook_id, secret=self._known(webhook_id).secret)
            self._by_id[webhook_id] = webhook
        return webhook

    def remove(self, webhook_id: str) -> None:
        with self._lock:
            del self._by_id[self._known(webhook_id).id]

    def get(self, webhook_id: str) -> Webhook:
        """Return a webhook; raises Problem 404 for an unknown one."""
        with self._lock:
            return self._known(webhook_id)

    def all(self) -> list[Webhook]:
        with self._lock:
            return list(self._by_id.values())

    def _known(self, webhook_id: str) -> Webhook:
        if webhook_id not in self._by_id:
            raise Problem(404, "There is no such webhook.")
        return self._by_id[webhook_id]


def blueprint(webhooks: Webhooks, tokens: Tokens, *, with_list: bool) -> Blueprint:
    """Return the routes under `/api/v2/integrations/webhooks`; without the list there is only the tutorial's POST."""
    api = Blueprint("webhooks", __name__, url_prefix="/api/v2/integrations/webhooks")
    api.before_request(tokens.guard("integrations:write"))

    @api.post("")
    def register() -> tuple[Response, int]:
        return jsonify(webhooks.add(json_body()).as_object()), 201

    if with_list:
        _add_extension(api, webhooks)
    return api


def _add_extension(api: Blueprint, webhooks: Webhooks) -> None:
    @api.get("")
    def select() -> Response:
        return jsonify(entities=[webhook.as_object() for webhook in webhooks.all()])

    @api.get("/<webhook_id>")
    def show(webhook_id: str) -> Response:
        return jsonify(webhooks.get(webhook_id).as_object())

    @api.put("/<webhook_id>")
    def replace(webhook_id: str) -> Response:
        return jsonify(webhooks.replace(webhook_id, json_body()).as_object())

    @api.delete("/<webhook_id>")
    def remove(webhook_id: str) -> tuple[str, int]:
        webhooks.remove(webhook_id)
        return "", 204


def _read(body: JSONObject, *, webhook_id: str, secret: str) -> Webhook:
    name, url, events = body.get("name"), body.get("url"), body.get("events")
    if not isinstance(name, str) or not name:
        raise Problem(400, "The field name must be a text.", params={"field": "name"})
    if not isinstance(url, str) or not _is_web_address(url):
        raise Problem(400, "The field url must be an http or https address.", params={"field": "url"})
    if not isinstance(events, list) or not events or any(event != ENDED for event in events):
        raise Problem(400, f"The field events must be a list of known events: {ENDED}.", params={"field": "events"})
    given = body.get("secret", secret)
    if not isinstance(given, str):
        raise Problem(400, "The field secret must be a text.", params={"field": "secret"})
    return Webhook(id=webhook_id, name=name, url=url, events=events, secret=given)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
