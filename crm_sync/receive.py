"""STAGE 1, the webhook: read the raw bytes once, prove their origin, record what they say, answer after the commit."""

import re
from dataclasses import replace
from typing import Any

import structlog
from flask import Blueprint, Response, jsonify, request

from crm_sync import clock
from crm_sync.closure import Event, EventStatus
from crm_sync.errors import BodyTooLarge, CrmSyncError, NotAuthentic, RequestError, UnsupportedBody
from crm_sync.genesys import events, signature, webhooks
from crm_sync.metrics import EVENTS, REFUSALS
from crm_sync.services import Services, current
from crm_sync.store.inbox import Recorded

log = structlog.get_logger(__name__)
blueprint = Blueprint("receive", __name__)

_CHUNK = 64 * 1024
_JSON_TYPE = re.compile(r"application/([a-z0-9.+-]+\+)?json")


@blueprint.post(webhooks.OUR_PATH)
def webhook() -> tuple[Response, int]:
    """Answer 202 once everything that the body says is committed; docs/webhook.md lists every other answer."""
    services = current()
    try:
        body = read_body(services.settings.receive.max_body_bytes)
        _prove_origin(services, body)
    except RequestError as error:
        REFUSALS.labels(reason=type(error).__name__).inc()
        raise
    found, is_array = events.parse(body, _context(services))
    answers = [_answer(recorded) for recorded in record(services, found)]
    return jsonify({"results": answers} if is_array else answers[0]), 202


def read_body(most_bytes: int) -> bytes:
    """Return the raw body of the present request, with or without Content-Length; raises a RequestError."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedBody("Compressed bodies are not accepted: send plain JSON.")
    if not _JSON_TYPE.fullmatch(request.mimetype.lower()):
        raise UnsupportedBody("Only JSON is accepted: send Content-Type: application/json.")
    too_large = BodyTooLarge(f"The body is larger than {most_bytes} bytes.")
    if (request.content_length or 0) > most_bytes:
        raise too_large
    chunks, size = [], 0
    # gunicorn ends the stream with the body, whether its length was announced or it comes in chunks.
    while chunk := request.stream.read(min(_CHUNK, most_bytes + 1 - size)):
        chunks.append(chunk)
        size += len(chunk)
        if size > most_bytes:
            raise too_large
    return b"".join(chunks)


def record(services: Services, found: list[Event]) -> list[Recorded]:
    """Return what became of these events, after the commit. One that cannot be stored as it is, is quarantined."""
    try:
        recorded = services.intake.record(found)
    except CrmSyncError:
        raise
    except Exception:
        # A defect of ours. The sender must not lose the event to it, nor be told to send it for ever.
        recorded = [_record_alone(services, event) for event in found]
    for answer in recorded:
        EVENTS.labels(status=str(answer.status)).inc()
    return recorded


def _record_alone(services: Services, event: Event) -> Recorded:
    """Record one event, quarantined where it cannot be stored as it is: it must harm none that came with it."""
    try:
        return services.intake.record([event])[0]
    except CrmSyncError:
        raise
    except Exception as error:
        log.exception("event_could_not_be_stored", event_id=event.event_id)
        return services.intake.record([_quarantined(event, f"could not be stored ({type(error).__name__})")])[0]


def _prove_origin(services: Services, body: bytes) -> None:
    headers = {name.lower(): value for name, value in request.headers}
    secrets = [secret.get_secret_value().encode() for secret in services.settings.webhook_secrets]
    if signature.verify(headers, body, secrets, now_seconds=clock.now().timestamp()) is None:
        raise NotAuthentic("The request carries no valid signature or secret: compare the secret on both sides.")


def _context(services: Services) -> events.Context:
    organization_id = services.settings.genesys.organization_id
    return events.Context(source="webhook", received_at=clock.now(), organization_id=organization_id)


def _quarantined(event: Event, reason: str) -> Event:
    return replace(event, status=EventStatus.QUARANTINED, reason=reason, facts={}, people=())


def _answer(recorded: Recorded) -> dict[str, Any]:
    return {"status": str(recorded.status), "event_id": recorded.event_id}
