"""A receiver of signed webhooks, as a customer would write it: it verifies, and keeps the highest version."""

import json
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from crm_sync.testing.contract import Held
from crm_sync.testing.server import Answer, Request


class Receiver:
    """Keeps `records` by conversation; whatever the sender repeats, it takes once."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self.records: dict[str, dict[str, Any]] = {}
        self.messages: list[dict[str, Any]] = []
        self._seen: set[str] = set()

    def respond(self, request: Request) -> Answer:
        """Answer one request."""
        try:
            message = self._webhook.verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            return Answer(status=401)
        data = message["data"]
        if data.get("wrapup_notes") == "refuse me":
            return _answer({"field": "wrapup_notes"}, status=422)
        self.messages.append(message)
        return _answer(self._store(request.headers["webhook-id"], data))

    def read_back(self, conversation_id: str | None = None) -> list[Held]:
        """Return what is held, as the contract kit asks for it."""
        return [
            Held(conversation_id=key, version=data["version"], fields=data)
            for key, data in self.records.items()
            if conversation_id in (None, key)
        ]

    def _store(self, webhook_id: str, data: dict[str, Any]) -> dict[str, str]:
        key = data["conversation_id"]
        held = self.records.get(key)
        if webhook_id in self._seen:
            return {"outcome": "unchanged", "id": key}
        if held and held["version"] > data["version"]:
            return {"outcome": "skipped", "id": key}
        self._seen.add(webhook_id)
        self.records[key] = data
        return {"outcome": "updated" if held else "created", "id": key, "url": f"https://crm.example.invalid/{key}"}


def _answer(said: dict[str, str], *, status: int = 200) -> Answer:
    return Answer(status=status, headers={"content-type": "application/json"}, body=json.dumps(said).encode())
