"""Bodies as Genesys Cloud writes them, and short ways to parse them and to close a conversation with them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crm_sync import clock
from crm_sync.closure import Closure, Event, EventStatus, Facts, derive, merge
from crm_sync.genesys import events
from crm_sync.resolution import ResolutionMap, Status

SAMPLES = Path(__file__).parents[2] / "data" / "events"
CONVERSATION_ID = "2f7bf00a-0fc2-4d6a-9b56-92238191433e"
ORGANIZATION_ID = "32aa07aa-db1b-4987-abd0-9483601ec29d"
WRAPUP_CODE = "f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21"
RECEIVED_AT = datetime(2022, 4, 6, 10, 0, tzinfo=UTC)
NOON_MS = clock.to_ms(datetime(2022, 4, 5, 12, 0, tzinfo=UTC))
"""An instant the day before the receipt, from which tests count."""

KNOWN = ResolutionMap(wrapup_codes={WRAPUP_CODE: Status.RESOLVED, "code-lost": Status.UNRESOLVED})


def sample(name: str) -> dict[str, Any]:
    """Return one of the sample events, as an object of its own."""
    value: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return value


def detail(kind: str, *, at_ms: int = NOON_MS, session: str | None = None, **data: Any) -> dict[str, Any]:
    """Return an event of this kind, flat: its topic stands inside. Data that are None are left out."""
    leg = session or {"customer": "customer-leg", "user": "agent-leg"}.get(kind.partition(".")[0], "other-leg")
    known = {"topicName": topic(kind), "eventTime": at_ms, "conversationId": CONVERSATION_ID, "sessionId": leg}
    return {name: value for name, value in (known | data).items() if value is not None}


def topic(kind: str, conversation_id: str = CONVERSATION_ID) -> str:
    """Return the topic of a detail event."""
    return f"v2.detail.events.conversation.{conversation_id}.{kind}"


def with_topic(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event as EventBridge's `detail` has it."""
    return {"topicName": topic(kind), "version": "2", "eventBody": data, "metadata": {"CorrelationId": "c-1"}}


def enveloped(kind: str, data: dict[str, Any], *, envelope_id: str = "58fb5dac", **changes: Any) -> dict[str, Any]:
    """Return an event in the envelope of EventBridge."""
    known = {
        "version": "0",
        "id": envelope_id,
        "detail-type": topic(kind, "{id}"),
        "source": f"aws.partner/genesys.com/cloud/{ORGANIZATION_ID}/crm-sync",
        "account": "123456789012",
        "time": "2022-04-06T09:31:45Z",
        "region": "us-east-1",
        "resources": [],
        "detail": with_topic(kind, data),
    }
    return known | changes


def tutorial(**changes: Any) -> dict[str, Any]:
    """Return the conversation that the tutorial's webhook delivers. Data that are None are left out."""
    known = {
        "id": CONVERSATION_ID,
        "type": "chat",
        "state": "closed",
        "to": [{"id": "bot-id-123", "name": "Support Bot"}],
        "from": {"id": "user-456"},
        "startTime": "2022-04-05T12:00:00.000Z",
        "endTime": "2022-04-05T12:04:12.250Z",
        "resolutionStatus": "resolved",
        "attributes": {"order_id": "ORD-998877"},
        "routing": {"queueId": "human-support-queue"},
    }
    return {name: value for name, value in (known | changes).items() if value is not None}


def platform(**changes: Any) -> dict[str, Any]:
    """Return a conversation as the platform's API gives it. Data that are None are left out."""
    known = {
        "id": CONVERSATION_ID,
        "startTime": "2022-04-05T12:00:00.000Z",
        "endTime": "2022-04-05T12:08:27.440Z",
        "participants": [{"id": "p-1", "purpose": "customer", "messages": [{"state": "disconnected"}]}],
        "recordingState": "NONE",
        "divisions": [],
        "selfUri": f"/api/v2/conversations/{CONVERSATION_ID}",
    }
    return {name: value for name, value in (known | changes).items() if value is not None}


def context(organization_id: str | None = None) -> events.Context:
    """Return the circumstances of a receipt by webhook."""
    return events.Context(source="webhook", received_at=RECEIVED_AT, organization_id=organization_id)


def parsed(body: Any, organization_id: str | None = None) -> Event:
    """Return the one event of a body: bytes as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found, is_array = events.parse(raw, context(organization_id))
    assert not is_array
    (event,) = found
    return event


def accepted(body: Any) -> Event:
    """Return the one event of a body, which must be one that we understand."""
    event = parsed(body)
    assert event.status is EventStatus.ACCEPTED, event.reason
    return event


def merged(found: Iterable[Event]) -> Facts:
    """Return the facts of these events, merged in this order."""
    facts: Facts = {}
    for event in found:
        facts = merge(facts, event.facts)
    return facts


def closed_by(*bodies: Any, known: ResolutionMap = KNOWN) -> Closure:
    """Return the closure of the sample conversation after these bodies, each of which must be understood."""
    return derive(CONVERSATION_ID, merged(accepted(body) for body in bodies), known)
