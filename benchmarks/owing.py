"""Closures that are owed to a target, recorded as the webhook records them, but with no HTTP before it."""

import json
import time
import uuid

from crm_sync import clock
from crm_sync.genesys import events
from crm_sync.resolution import ResolutionMap
from crm_sync.settings_targets import TargetSettings
from crm_sync.store import targets
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox

GROUP = 200
"""As many as a web process puts into one transaction at most."""


def owe(database: Database, target: str, count: int) -> int:
    """Owe so many new closures to this target, which is new too; return its id."""
    with database.write() as connection:
        target_id = targets.sync(connection, {target: TargetSettings(adapter="memory")})[target]
    inbox = Inbox(database, ResolutionMap())
    for start in range(0, count, GROUP):
        context = events.Context(source="webhook", received_at=clock.now(), organization_id=None)
        bodies = [_ended(str(uuid.uuid4())) for _ in range(min(GROUP, count - start))]
        inbox.record([event for body in bodies for event in events.parse(body, context)[0]])
    return target_id


def _ended(conversation_id: str) -> bytes:
    contact_id = str(uuid.uuid4())
    return json.dumps(
        {
            "topicName": f"v2.detail.events.conversation.{conversation_id}.customer.end",
            "eventTime": int(time.time() * 1000),
            "sessionId": str(uuid.uuid4()),
            "disconnectType": "CLIENT",
            "externalContactId": contact_id,
            "interactingDurationMs": 60_000,
            "conversationExternalContactIds": [contact_id],
            "divisionId": "a85d0cf7-0afb-4561-adfd-9289c07cd51f",
            "conversationId": conversation_id,
            "mediaType": "MESSAGE",
            "messageType": "OPEN",
            "provider": "PureCloud Messaging",
            "direction": "INBOUND",
            "addressTo": "open-integration-id",
            "addressFrom": f"customer-{contact_id}",
        }
    ).encode()
