"""The two signatures that the pretend systems know: what Genesys Cloud sends, and what the CRM demands."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Protocol

TOLERANCE_SECONDS = 300


class Headers(Protocol):
    """Request headers, found by name whatever its case."""

    def get(self, key: str, _default: str, /) -> str: ...


class BadSignature(ValueError):
    """The request carries no valid signature."""


def hub_signature(secret: str, body: bytes) -> str:
    """Return the value of `X-Hub-Signature-256` for a body: `sha256=` and HMAC-SHA256 in hex."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard_key(secret: str) -> bytes:
    """Return the key in a Standard Webhooks secret, `whsec_` and base64; raises ValueError for anything else."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or not key:
        raise ValueError("A secret of the pretend CRM is written as whsec_ followed by base64.")
    return key


def verify_standard(headers: Headers, body: bytes, *, keys: Iterable[bytes], now: float) -> str:
    """Return the `webhook-id` of a request signed with one of the keys within five minutes of `now`.

    Raises BadSignature, whose text says what is wrong, never what would have been right.
    """
    push_key = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = [part.removeprefix("v1,") for part in headers.get("webhook-signature", "").split(" ") if part[:3] == "v1,"]
    if not push_key or not given:
        raise BadSignature("webhook-id or a v1 webhook-signature is missing.")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(int(timestamp[:15]) - now) > TOLERANCE_SECONDS:
        raise BadSignature("webhook-timestamp is missing or more than five minutes away from now.")
    signed = b".".join((push_key.encode(), timestamp.encode(), body))
    for key in keys:
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        if any(hmac.compare_digest(expected, signature.encode()) for signature in given):
            return push_key
    raise BadSignature("No webhook-signature matches.")
