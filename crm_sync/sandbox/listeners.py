"""Who is told of the platform's events, and in which of the shapes that an event can arrive in."""

import threading
import uuid
from typing import Literal, TypeAlias

from pydantic import Field

from crm_sync import clock
from crm_sync.sandbox.detail_events import DetailEvent
from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.platform_world import ORGANIZATION
from crm_sync.sandbox.poster import Destination
from crm_sync.sandbox.wire import JSONObject

Shape: TypeAlias = Literal["bare", "flat", "detail", "eventbridge", "array"]

SECRET = "X-Webhook-Secret"
"""The header in which a data action and an API destination show what they know; neither can sign."""


class Listener(Order):
    """Where to post events. Behind a workflow it is told what triggers start that workflow with, else everything."""

    url: str = Field(pattern=r"^https?://[^/]+")
    secret: str = Field(default="", repr=False)
    shape: Shape = "eventbridge"
    workflow_id: str | None = None

    def as_object(self) -> JSONObject:
        return self.model_dump(exclude={"secret"})


class Listeners:
    """All listeners, one for each address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_url: dict[str, Listener] = {}

    def put(self, listener: Listener) -> None:
        """Add a listener, in the place of the one that has its address already."""
        with self._lock:
            self._by_url[listener.url] = listener

    def all(self) -> list[Listener]:
        with self._lock:
            return list(self._by_url.values())

    def clear(self) -> None:
        with self._lock:
            self._by_url.clear()

    def destination(self, url: str) -> Destination | None:
        """Return where to post to with the secret of now, or None when nobody listens there any more."""
        with self._lock:
            listener = self._by_url.get(url)
        if listener is None:
            return None
        return Destination(url=url, headers={SECRET: listener.secret} if listener.secret else {})


def shaped(event: DetailEvent, shape: Shape) -> JSONObject:
    """Return an event as it is posted; those of an array are bare."""
    match shape:
        case "flat":
            return _flat(event)
        case "detail":
            return _detail(event)
        case "eventbridge":
            return _envelope(event)
    return event.body


def _flat(event: DetailEvent) -> JSONObject:
    """As a workflow's inputs, which lists and objects do not survive, with the topic that its author wrote down."""
    survivors = {name: value for name, value in event.body.items() if not isinstance(value, list | dict)}
    return {"topicName": event.topic_pattern} | survivors


def _detail(event: DetailEvent) -> JSONObject:
    told_at = clock.from_ms(event.body["eventTime"] + 64)
    return {
        "topicName": event.topic,
        "version": "2",
        "eventBody": event.body,
        "metadata": {"CorrelationId": _id(event, "correlation")},
        "timestamp": clock.to_text(told_at),
    }


def _envelope(event: DetailEvent) -> JSONObject:
    # Whole seconds, rounded down: as on the platform it may lie before the event.
    time = clock.from_ms(event.body["eventTime"] // 1000 * 1000)
    return {
        "version": "0",
        "id": _id(event, "envelope"),
        "detail-type": event.topic_pattern,
        "source": f"aws.partner/genesys.com/cloud/{ORGANIZATION}/crm-sync",
        "account": "123456789012",
        "time": clock.to_text(time).replace(".000Z", "Z"),
        "region": "us-east-1",
        "resources": [],
        "detail": _detail(event),
    }


def _id(event: DetailEvent, use: str) -> str:
    leg = event.body.get("sessionId", event.body["participantId"])
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{event.topic}/{leg}/{event.body['eventTime']}/{use}"))
