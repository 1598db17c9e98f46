"""Cursors: a place in a list as a text that only we can write, and that fits only the query it was given for."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from crm_sync.errors import BadRequest
from crm_sync.store.reads import Position

_PURPOSE = b"crm-sync cursor"
_SIGNATURE_BYTES = 16


def write(position: Position, *, query: str, secrets: Sequence[SecretStr]) -> str:
    """Return the cursor for this place, signed with the first of the secrets."""
    at = None if position.at is None else position.at.isoformat()
    payload = json.dumps([at, position.conversation_id], separators=(",", ":")).encode()
    signature = _sign(payload, query, _keys(secrets)[0])
    return base64.urlsafe_b64encode(signature + payload).decode().rstrip("=")


def read(cursor: str, *, query: str, secrets: Sequence[SecretStr]) -> Position:
    """Return the place; raises BadRequest unless we wrote the cursor, with any of the secrets, for this query."""
    refused = BadRequest(
        "The cursor was not given for this query: repeat the query as it was, or leave the cursor out."
    )
    try:
        signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise refused from None
    signature, payload = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
    if not any([hmac.compare_digest(signature, _sign(payload, query, key)) for key in _keys(secrets)]):
        raise refused
    at, conversation_id = json.loads(payload)
    return Position(at=_instant(at), conversation_id=conversation_id)


def _keys(secrets: Sequence[SecretStr]) -> list[bytes]:
    """Return keys that are good for cursors alone. All web processes share the secrets, so each knows the others'
    cursors; without a secret nothing can be received, and there is nothing to walk through."""
    return [hmac.digest(secret.get_secret_value().encode(), _PURPOSE, hashlib.sha256) for secret in secrets] or [b""]


def _sign(payload: bytes, query: str, key: bytes) -> bytes:
    query_digest = hashlib.sha256(query.encode()).digest()
    return hmac.digest(key, query_digest + payload, hashlib.sha256)[:_SIGNATURE_BYTES]


def _instant(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
