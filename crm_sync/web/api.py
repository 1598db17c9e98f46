"""The read API: closures as JSON, page by page or as a feed of changes, and one closure with its whole story."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request

from crm_sync import clock, services
from crm_sync.closure import JSON
from crm_sync.errors import BadRequest, NotFound
from crm_sync.resolution import Status
from crm_sync.store import audit, reads
from crm_sync.web import cursors
from crm_sync.web.auth import require

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

MOST = 200
USUAL = 50
LONGEST = 200

_FIRST = ""  # Sorts before every conversation id.


@blueprint.get("/closures")
@require("reader")
def list_closures() -> Response:
    """Answer a page of closures; with `updated_since`, the next part of the feed of changes.

    `next` is the cursor to go on from, and null after the last page. A feed has no last page: its `next` is always
    there, to be kept and asked with later, and `has_more` tells whether asking at once is worth while.
    """
    given = parameters(_PARSERS)
    limit = given.pop("limit", USUAL)
    cursor = given.pop("cursor", None)
    since = given.pop("updated_since", None)
    wanted = reads.Filter(**given)
    query = _canonical_query()
    secrets = services.current().settings.webhook_secrets
    after = None if cursor is None else cursors.read(cursor, query=query, secrets=secrets)
    if since is not None and after is None:
        after = reads.Position(at=since, conversation_id=_FIRST)
    found = _page(wanted, after=after, limit=limit + 1, is_feed=since is not None)
    page, has_more = found[:limit], len(found) > limit
    last = _position(page[-1], is_feed=since is not None) if page else after
    goes_on = last is not None and (has_more or since is not None)
    return jsonify(
        closures=[known.as_record() for known in page],
        next=cursors.write(last, query=query, secrets=secrets) if last is not None and goes_on else None,
        has_more=has_more,
    )


@blueprint.get("/closures/<conversation_id>")
@require("reader")
def show_closure(conversation_id: str) -> Response:
    """Answer one closure, its events without their bodies, and its delivery to each target."""
    database = services.current().database

    def read() -> tuple[reads.Known | None, list[reads.EventSummary], list[reads.DeliverySummary]]:
        with database.read() as connection:
            return (
                reads.closure(connection, conversation_id),
                reads.events(connection, conversation_id),
                reads.deliveries(connection, conversation_id),
            )

    known, events, deliveries = database.run(read) if _is_word(conversation_id) else (None, [], [])
    if known is None:
        raise NotFound("No closure of this conversation is known here.")
    return jsonify(
        closure=known.as_record(),
        events=[_as_json(asdict(event)) for event in events],
        deliveries=[_as_json(asdict(delivery)) for delivery in deliveries],
    )


@blueprint.get("/closures/<conversation_id>/audit")
@require("reader")
def audit_closure(conversation_id: str) -> Response:
    """Answer the entry of the audit for one conversation, as one line of NDJSON."""
    database = services.current().database

    def read() -> audit.Entry | None:
        with database.read() as connection:
            return audit.find(connection, conversation_id)

    entry = database.run(read) if _is_word(conversation_id) else None
    if entry is None:
        raise NotFound("No closure of this conversation is known here.")
    return Response(entry.as_line() + "\n", mimetype="application/x-ndjson")


def parameters(parsers: Mapping[str, Callable[[str, str], Any]]) -> dict[str, Any]:
    """Return the parameters of the request as their parsers read them; raises BadRequest for any other."""
    parsed = {}
    for name, values in request.args.lists():
        if name not in parsers:
            raise BadRequest(f"Unknown parameter; known are {', '.join(parsers)}.")
        if len(values) != 1:
            raise BadRequest(f"{name} is given more than once.")
        parsed[name] = parsers[name](name, values[0])
    return parsed


def instant(name: str, text: str) -> datetime:
    """Return the instant that a parameter holds; raises BadRequest."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(clock.UTC)
    except (ValueError, OverflowError):
        pass  # Told below, together with an instant without a zone.
    raise BadRequest(f"{name} must be an instant with its zone, as in 2024-01-15T10:34:12Z.")


def _page(wanted: reads.Filter, *, after: reads.Position | None, limit: int, is_feed: bool) -> list[reads.Known]:
    database = services.current().database

    def read() -> list[reads.Known]:
        with database.read() as connection:
            if is_feed and after is not None:
                return reads.changed(connection, wanted, after=after, limit=limit)
            return reads.newest(connection, wanted, after=after, limit=limit)

    return database.run(read)


def _position(known: reads.Known, *, is_feed: bool) -> reads.Position:
    at = known.updated_at if is_feed else known.closure.ended_at
    return reads.Position(at=at, conversation_id=known.closure.conversation_id)


def _canonical_query() -> str:
    """Return what a cursor belongs to: all parameters but the cursor itself and the size of a page."""
    return json.dumps(sorted((k, v) for k, v in request.args.items() if k not in ("cursor", "limit")))


def _status(name: str, text: str) -> Status:
    if text not in list(Status):
        raise BadRequest(f"{name} must be one of {', '.join(Status)}.")
    return Status(text)


def _truth(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false.")
    return text == "true"


def _word(name: str, text: str) -> str:
    if not _is_word(text):
        raise BadRequest(f"{name} must be 1 to {LONGEST} characters, none of them NUL.")
    return text


def _is_word(text: str) -> bool:
    return 1 <= len(text) <= LONGEST and "\0" not in text


def _size(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST):
        raise BadRequest(f"{name} must be a whole number from 1 to {MOST}.")
    return int(text)


def _cursor(_name: str, text: str) -> str:
    return text


_PARSERS: Mapping[str, Callable[[str, str], Any]] = {
    "resolution": _status,
    "closed": _truth,
    "media_type": _word,
    "queue_id": _word,
    "ended_from": instant,
    "ended_to": instant,
    "updated_since": instant,
    "limit": _size,
    "cursor": _cursor,
}


def _as_json(record: Mapping[str, Any]) -> dict[str, JSON]:
    return {name: clock.to_text(value) if isinstance(value, datetime) else value for name, value in record.items()}
