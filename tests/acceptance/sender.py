"""Posts events as the senders of the real world do: in every shape, with every proof of origin."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import requests
from standardwebhooks import Webhook

from tests.acceptance.harness import SECRET

PATH = "/webhooks/genesys"
EVENTS = Path(__file__).parents[1] / "data" / "events"
KINDS = ("flow.outcome", "customer.end", "user.end", "wrapup")

TUTORIAL = {
    "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "type": "chat",
    "state": "closed",
    "to": [{"id": "bot-id-123", "name": "Support Bot"}],
    "from": {"id": "user-456"},
    "startTime": "2024-01-15T10:30:00.000Z",
    "endTime": "2024-01-15T10:34:12.250Z",
    "resolutionStatus": "resolved",
    "attributes": {"order_id": "ORD-998877"},
    "routing": {"queueId": "human-support-queue"},
}


def event(kind: str, **changes: Any) -> dict[str, Any]:
    """Return the sample event of this kind, bare."""
    found: dict[str, Any] = json.loads((EVENTS / f"{kind}.json").read_text())
    return found | changes


def conversation(conversation_id: str, **changes: Any) -> dict[str, Any]:
    """Return a conversation as the tutorial's webhook tells it."""
    return TUTORIAL | {"id": conversation_id} | changes


def _detail(kind: str, bare: dict[str, Any]) -> dict[str, Any]:
    topic = f"v2.detail.events.conversation.{bare['conversationId']}.{kind}"
    return {"topicName": topic, "version": "2", "eventBody": bare, "metadata": {"CorrelationId": "c"}}


def _envelope(kind: str, bare: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "58fb5dac-f077-4eec-a25f-c638dbdd4368",
        "detail-type": f"v2.detail.events.conversation.{{id}}.{kind}",
        "source": "aws.partner/genesys.com/cloud/32aa07aa-db1b-4987-abd0-9483601ec29d/crm-sync",
        "time": "2022-06-14T16:12:11.000Z",
        "detail": _detail(kind, bare) | {"timestamp": "2022-04-06T09:30:45.013Z"},
    }


def _flat(kind: str, bare: dict[str, Any]) -> dict[str, Any]:
    return {"topicName": f"v2.detail.events.conversation.{{id}}.{kind}"} | bare


SHAPES: Mapping[str, Callable[[str, dict[str, Any]], Any]] = {
    "bare": lambda kind, bare: bare,
    "enveloped": _envelope,
    "detail": _detail,
    "flat": _flat,
    "array": lambda kind, bare: [bare],
}


def hub_hex(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the headers of GitHub, Meta and the pretend Genesys Cloud."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def _hub_base64(body: bytes) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
    return {"X-Hub-Signature-256": "sha256=" + base64.b64encode(digest).decode()}


def standard(body: bytes, *, at: datetime | None = None) -> dict[str, str]:
    """Return the headers of Standard Webhooks, made by that project's own library."""
    at = at or datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", at, body.decode()),
    }


PROOFS: Mapping[str, Callable[[bytes], dict[str, str]]] = {
    "hub hex": hub_hex,
    "hub base64": _hub_base64,
    "standard": standard,
    "secret": lambda body: {"X-Webhook-Secret": SECRET},
    "bearer": lambda body: {"Authorization": f"Bearer {SECRET}"},
    "basic": lambda body: {"Authorization": "Basic " + base64.b64encode(f"genesys:{SECRET}".encode()).decode()},
}


class Sender:
    """A sender with one connection to one web process. It follows no proxy settings."""

    def __init__(self, url: str) -> None:
        self.url = url + PATH
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, content: Any, proof: str = "hub hex", **headers: str) -> requests.Response:
        """Post bytes as they are, anything else as JSON, with this proof of origin."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.post_raw(body, PROOFS[proof](body) | headers)

    def post_raw(self, body: bytes, headers: Mapping[str, str | bytes]) -> requests.Response:
        """Post bytes with these headers and no others of ours."""
        return self._session.post(
            self.url, data=body, headers={"Content-Type": "application/json", **headers}, timeout=60
        )

    def status(self, content: Any, proof: str = "hub hex") -> str:
        """Return what the webhook says of one event; of an array, what it says of the only element."""
        answer = self.post(content, proof)
        assert answer.status_code == 202, answer.text
        told = answer.json()
        return str((told["results"][0] if "results" in told else told)["status"])

    def post_all(self, contents: Iterable[Any], *, size: int = 100) -> None:
        """Post events as arrays of so many, each of which has to be accepted."""
        events = list(contents)
        for start in range(0, len(events), size):
            answer = self.post(events[start : start + size])
            assert answer.status_code == 202, answer.text
            statuses = [result["status"] for result in answer.json()["results"]]
            assert statuses == ["accepted"] * len(statuses)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
