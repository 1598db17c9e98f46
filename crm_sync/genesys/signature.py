"""Proof that a payload comes from whom we gave the secret: three ways to give it, any one of which suffices.

- `X-Hub-Signature-256: sha256=` and HMAC-SHA256 over the raw body, in hex (GitHub, Meta, our sandbox) or in base64
  (Genesys Cloud's Open Messaging).
- Standard Webhooks: `webhook-id`, `webhook-timestamp` within five minutes, `webhook-signature: v1,` and base64.
- The secret itself, in `X-Webhook-Secret` or as a bearer token or basic password: a Genesys data action and an AWS
  API destination can send a secret, but cannot sign.

All comparisons are of bytes and in constant time, and all secrets are tried, so that a secret can be rotated.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress

TOLERANCE_SECONDS = 300


def sign(secret: bytes, body: bytes) -> str:
    """Return the value of `X-Hub-Signature-256` for this body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, now_seconds: float) -> str | None:
    """Return the name of the proof that holds (`hub`, `standard` or `secret`), None when there is none.

    `headers` carry their names in lower case; `now_seconds` are Unix seconds.
    """
    if _hub_holds(headers.get("x-hub-signature-256"), body, secrets):
        return "hub"
    if _standard_holds(headers, body, secrets, now_seconds):
        return "standard"
    if any(_any_equal(given, secrets) for given in _given_secrets(headers)):
        return "secret"
    return None


def _hub_holds(header: str | None, body: bytes, secrets: Sequence[bytes]) -> bool:
    prefix, _, text = (header or "").partition("=")
    if prefix != "sha256" or (given := _digest(text)) is None:
        return False
    return _any_equal(given, [hmac.digest(secret, body, "sha256") for secret in secrets])


def _digest(text: str) -> bytes | None:
    """Return the 32 bytes that a hex or base64 digest stands for, None when it is neither."""
    try:
        raw = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if len(raw) == 32 else None


def _standard_holds(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now_seconds: float) -> bool:
    message_id, sent_at, signatures = (
        headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )  # fmt: skip
    if not (message_id and sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        return False
    if abs(now_seconds - int(sent_at)) > TOLERANCE_SECONDS:
        return False
    signed = b".".join((_as_bytes(message_id), sent_at.encode(), body))
    expected = [hmac.digest(_standard_key(secret), signed, "sha256") for secret in secrets]
    given = [_digest(part[3:]) for part in signatures.split(" ") if part.startswith("v1,")]
    return any([_any_equal(digest, expected) for digest in given if digest is not None])


def _standard_key(secret: bytes) -> bytes:
    """Return the key behind a secret: `whsec_` introduces base64, anything else stands for itself."""
    if not secret.startswith(b"whsec_"):
        return secret
    try:
        # No key at all would let anybody sign.
        return base64.b64decode(secret[6:], validate=True) or secret
    except binascii.Error:
        return secret


def _given_secrets(headers: Mapping[str, str]) -> list[bytes]:
    given = [_as_bytes(headers.get("x-webhook-secret", ""))]
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        given.append(_as_bytes(value))
    elif scheme.casefold() == "basic":
        with suppress(binascii.Error):
            given.append(base64.b64decode(_as_bytes(value), validate=True).partition(b":")[2])
    return [secret for secret in given if secret]


def _any_equal(given: bytes, expected: Sequence[bytes]) -> bool:
    return any([hmac.compare_digest(given, one) for one in expected])


def _as_bytes(value: str) -> bytes:
    # WSGI hands header bytes over as Latin-1 text.
    return value.encode("latin-1", "replace")
