"""Who talks to the pretend systems in these tests: a caller with a token, and a receiver of webhooks."""

import threading
from dataclasses import dataclass, field
from typing import Any

import requests
from flask import request

from crm_sync.sandbox.client import GenesysControl
from crm_sync.sandbox.poster import Manner

QUICK = Manner(first_wait_seconds=0.01, longest_wait_seconds=0.05, timeout_seconds=5)
PAYLOAD = {
    "to": [{"id": "bot-id-123", "name": "Support Bot"}],
    "from": {"id": "user-456"},
    "type": "chat",
    "attributes": {"order_id": "ORD-998877"},
}


@dataclass
class Genesys:
    """A pretend Genesys Cloud, and a caller with a token."""

    url: str
    control: GenesysControl
    session: requests.Session

    def token(self, **form: str) -> str:
        asked = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret"} | form
        answer = self.session.post(f"{self.url}/oauth/token", data=asked)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token()}"} | options.pop("headers", {})
        return self.session.request(method, self.url + path, json=body, headers=headers, timeout=10, **options)

    def start(self, **changes: Any) -> str:
        answer = self.call("POST", "/api/v2/conversations", PAYLOAD | changes)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def register(self, url: str, **changes: Any) -> dict[str, Any]:
        body = {"name": "CRM Termination Sync", "url": url, "events": ["conversation:ended"]} | changes
        answer = self.call("POST", "/api/v2/integrations/webhooks", body)
        answer.raise_for_status()
        return dict(answer.json())


@dataclass
class Receiver:
    """Takes webhooks in, and answers the next ones with `answers` before it accepts."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> tuple[str, int]:
        with self.lock:
            self.bodies.append(request.get_data())
            self.headers.append(dict(request.headers))
            return "", self.answers.pop(0) if self.answers else 202
