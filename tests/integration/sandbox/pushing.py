"""Pushes to a pretend CRM, signed by the library of Standard Webhooks."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from standardwebhooks import Webhook

from crm_sync.sandbox.client import CRMControl
from crm_sync.sandbox.crm import SANDBOX_SECRET


def push(
    crm: CRMControl,
    key: str = "c-1.1.abc",
    *,
    secret: str = SANDBOX_SECRET,
    age: timedelta = timedelta(0),
    body: str | None = None,
    timeout: float = 10,
    **data: Any,
) -> requests.Response:
    """Push a record of the conversation `c-1`, unless `data` says otherwise, and return the answer."""
    at = datetime.now(UTC) - age
    content = {"conversation_id": "c-1", "version": 1, "resolution": "resolved"} | data
    text = json.dumps({"type": "conversation.closed", "data": content}) if body is None else body
    headers = {
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, at, text),
        "content-type": "application/json",
    }
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{crm.url}/records", data=text.encode(), headers=headers, timeout=timeout)
