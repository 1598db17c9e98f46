"""A signed webhook to anybody's own receiver, after the Standard Webhooks specification."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from crm_sync import clock
from crm_sync.adapters.contract import (
    API_VERSION,
    Capabilities,
    Finding,
    MappedField,
    Match,
    Outcome,
    PersonHint,
    Prepared,
    Push,
    Receipt,
)
from crm_sync.adapters.values import Options, clean_record, parse, to_json
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, failure
from crm_sync.transport import HTTPTransport, Response, fault_of

SECRET_PREFIX = "whsec_"

_CAPABILITIES = Capabilities(
    native_upsert=False,
    optimistic_lock=False,
    idempotency="key",
    max_batch=1,
    batch_atomic=False,
    ordered_per_key=True,
    dry_run="local",
)
_ABOUT_THE_RECORD = (Kind.DATA, Kind.CONFLICT)
_LONGEST_ID = 200
_LONGEST_URL = 2000


def _secret(secret: SecretStr) -> SecretStr:
    try:
        key = _key(secret)
    except (binascii.Error, ValueError):
        raise ValueError("is not usable: a secret is whsec_ and then base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError("is not usable: a secret has 24 to 64 bytes, before it is written as base64")
    return secret


def _address(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or "@" in parts.netloc:
        raise ValueError("must be an absolute http or https address without a user or password")
    return url


def _listed(given: Any) -> Any:
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


class WebhookOptions(Options):
    """The settings of the adapter `webhook`. Several secrets sign each push while one replaces another.

    The address counts as a secret too: many receivers know their callers by nothing else.
    """

    url: Annotated[SecretStr, AfterValidator(_address)]
    secrets: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_secret)], ...], BeforeValidator(_listed), Field(min_length=1)
    ]
    allow_private_addresses: bool = False


class WebhookAdapter:
    """Posts one record at a time. A receiver that has seen a `webhook-id` may answer 2xx and do nothing."""

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str] = "webhook"
    settings: ClassVar[Mapping[str, JSON]] = WebhookOptions.model_json_schema()

    def __init__(
        self, options: WebhookOptions, *, transport: HTTPTransport, now: Callable[[], datetime] = clock.now
    ) -> None:
        self.capabilities = _CAPABILITIES
        self._options = options
        self._transport = transport
        self._now = now

    @classmethod
    def from_options(
        cls, options: Mapping[str, JSON], *, fields: Sequence[MappedField], worker_deadline_seconds: float
    ) -> Self:
        """Return the adapter; a push takes no longer than the deadline."""
        chosen = parse(WebhookOptions, options)
        transport = HTTPTransport(
            allow_private=chosen.allow_private_addresses,
            connect_seconds=min(5, worker_deadline_seconds),
            read_seconds=min(15, worker_deadline_seconds),
            total_seconds=worker_deadline_seconds,
        )
        return cls(chosen, transport=transport)

    def check(self) -> list[Finding]:
        """Return what can be told without posting anything: a receiver has no other door to knock at."""
        if urlsplit(self._options.url.get_secret_value()).scheme == "https":
            return []
        return [
            Finding(
                what="the address is plain http, so anybody on the way can read the records",
                where="url",
                remedy="use https",
                is_fatal=False,
            )
        ]

    def find_person(self, hint: PersonHint) -> list[Match]:
        """Return nobody: a receiver looks for its persons itself."""
        return []

    def prepare(self, push: Push) -> Prepared:
        """Return the message; conversation id and version are always in its data."""
        return Prepared(
            conversation_id=push.conversation_id,
            push_key=push.push_key,
            version=push.version,
            record={
                "type": "conversation.closed" if push.closed else "conversation.reopened",
                "timestamp": clock.to_text(push.occurred_at),
                "data": {
                    **clean_record(push.due_fields),
                    "conversation_id": push.conversation_id,
                    "version": push.version,
                },
            },
            known_id=push.known_id,
        )

    def render(self, batch: Sequence[Prepared]) -> str:
        """Return each request; its address shows the host alone, and its signatures are left out."""
        host = urlsplit(self._options.url.get_secret_value()).hostname
        return "\n\n".join(
            f"POST to {host}\ncontent-type: application/json\nwebhook-id: {entry.push_key}\n\n{to_json(entry.record)}"
            for entry in batch
        )

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Post the entries one by one, until something is wrong with more than a single record."""
        receipts: list[Receipt] = []
        for entry in batch:
            try:
                receipts.append(self._post(entry))
            except AdapterFailure as problem:
                is_about_all = problem.fault.kind not in _ABOUT_THE_RECORD
                if is_about_all and len(batch) == 1:
                    raise
                receipts.append(_failed(entry, problem.fault))
                if is_about_all:
                    break
        unsent = Fault(kind=Kind.RETRYABLE, code="not_sent", message="Not sent: an entry before it met trouble.")
        return receipts + [_failed(entry, unsent) for entry in batch[len(receipts) :]]

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def _post(self, entry: Prepared) -> Receipt:
        body = to_json(entry.record).encode()
        answer = self._transport.send(
            "POST",
            self._options.url.get_secret_value(),
            headers={"content-type": "application/json", **self._signed(entry.push_key, body)},
            body=body,
        )
        if answer.is_success:
            return _accepted(entry, answer)
        raise failure(replace(fault_of(answer, now=self._now()), field=_refused_field(answer)))

    def _signed(self, push_key: str, body: bytes) -> dict[str, str]:
        seconds = str(clock.to_ms(self._now()) // 1000)
        content = f"{push_key}.{seconds}.".encode() + body
        signatures = [
            base64.b64encode(hmac.new(_key(secret), content, hashlib.sha256).digest()).decode()
            for secret in self._options.secrets
        ]
        return {
            "webhook-id": push_key,
            "webhook-timestamp": seconds,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value()
    if not text.startswith(SECRET_PREFIX):
        raise ValueError("no prefix")
    return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)


def _accepted(entry: Prepared, answer: Response) -> Receipt:
    """Return what the receiver says it did, as far as it says so in the words we know."""
    said = _said(answer)
    try:
        outcome = Outcome(str(said.get("outcome")))
    except ValueError:
        outcome = Outcome.FAILED
    if outcome is Outcome.FAILED:
        # It took the record with a 2xx; what else it wrote there is no word of ours.
        outcome = Outcome.UPDATED if entry.known_id else Outcome.CREATED
    link = _text(said.get("url"), _LONGEST_URL)
    return Receipt(
        push_key=entry.push_key,
        outcome=outcome,
        record_id=_text(said.get("id"), _LONGEST_ID) or entry.known_id or entry.conversation_id,
        # People click on it: nothing but a web address will do.
        url=link if link and re.match(r"https?://", link) else None,
    )


def _said(answer: Response) -> Mapping[str, JSON]:
    try:
        said = answer.json()
    except AdapterFailure:
        return {}
    return said if isinstance(said, dict) else {}


def _text(value: JSON, longest: int) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable():
        return value
    return None


def _refused_field(answer: Response) -> str | None:
    name = _said(answer).get("field")
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,100}", name) else None


def _failed(entry: Prepared, fault: Fault) -> Receipt:
    return Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=fault)
