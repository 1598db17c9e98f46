"""The tutorial's analytics query: selected fields of its conversations in a window, in pages."""

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import request

from crm_sync import clock
from crm_sync.sandbox.conversations import Conversation, Conversations
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject, compact, read_instant

MAX_PAGE_SIZE = 100

_FIELDS: dict[str, Callable[[Conversation], Any]] = {
    "conversationId": lambda conversation: conversation.id,
    "startTime": lambda conversation: clock.to_text(conversation.started_at),
    "endTime": lambda conversation: conversation.ended_at and clock.to_text(conversation.ended_at),
    "resolutionStatus": lambda conversation: conversation.resolution_status,
    "duration": lambda conversation: _duration_ms(conversation),
    "type": lambda conversation: conversation.type,
    "state": lambda conversation: conversation.state,
}
_DEFAULT = ["conversationId", "startTime", "endTime", "resolutionStatus", "duration"]


def answer(conversations: Conversations, body: JSONObject, *, page_size: int) -> JSONObject:
    """Return a page of the details query. `duration` is in milliseconds; the last page has no `nextPageToken`."""
    first, last = _window(body)
    wanted, filters, size = _selected(body), _filters(body), _page_size(body, page_size)
    after = _read_page_token(body.get("nextPageToken") or request.args.get("nextPageToken"))
    found = sorted(
        (
            conversation
            for conversation in conversations.select()
            if conversation.started_at < last
            and (conversation.ended_at is None or conversation.ended_at >= first)
            and all(_FIELDS[name](conversation) == value for name, value in filters)
        ),
        key=_place,
    )
    rest = [conversation for conversation in found if after is None or _place(conversation) > after]
    page: JSONObject = {"data": [_row(conversation, wanted) for conversation in rest[:size]]}
    if len(rest) > size:
        page["nextPageToken"] = _page_token(rest[size - 1])
    return page


def _window(body: JSONObject) -> tuple[datetime, datetime]:
    first, last = read_instant(body.get("dateFrom")), read_instant(body.get("dateTo"))
    if first is None or last is None or first > last:
        raise Problem(400, "dateFrom and dateTo must be instants, the earlier one first.", code="invalid.date")
    return first, last


def _selected(body: JSONObject) -> list[str]:
    wanted = body.get("select", _DEFAULT)
    if not isinstance(wanted, list) or not wanted or not all(_is_field(name) for name in wanted):
        raise Problem(400, "The field select names an unknown field.", code="invalid.value", params={"field": "select"})
    return wanted


def _filters(body: JSONObject) -> list[tuple[str, str]]:
    filters = body.get("filter", [])
    if not isinstance(filters, list) or not all(
        isinstance(rule, dict) and rule.get("operator") == "equals" and _is_field(rule.get("dimension"))
        for rule in filters
    ):
        raise Problem(400, "The field filter is not understood.", code="invalid.value", params={"field": "filter"})
    return [(rule["dimension"], rule.get("value")) for rule in filters]


def _is_field(name: Any) -> bool:
    return isinstance(name, str) and name in _FIELDS


def _page_size(body: JSONObject, usual: int) -> int:
    size = body.get("pageSize", usual)
    if not isinstance(size, int) or not 1 <= size <= MAX_PAGE_SIZE:
        reason = f"The pageSize must be 1 to {MAX_PAGE_SIZE}."
        raise Problem(400, reason, code="invalid.value", params={"field": "pageSize"})
    return size


def _place(conversation: Conversation) -> tuple[str, str]:
    return clock.to_text(conversation.started_at), conversation.id


def _page_token(last: Conversation) -> str:
    return base64.urlsafe_b64encode(compact(_place(last))).decode()


def _read_page_token(token: Any) -> tuple[str, str] | None:
    """A token names the last row seen, so conversations that arrive between two pages shift nothing."""
    if not token:
        return None
    try:
        started_at, conversation_id = json.loads(base64.urlsafe_b64decode(token))
        return str(started_at), str(conversation_id)
    except (ValueError, TypeError):
        raise Problem(400, "The nextPageToken is not one of ours.", code="invalid.value") from None


def _row(conversation: Conversation, wanted: list[str]) -> JSONObject:
    row = {name: _FIELDS[name](conversation) for name in wanted}
    return {name: value for name, value in row.items() if value is not None}


def _duration_ms(conversation: Conversation) -> int | None:
    if conversation.ended_at is None:
        return None
    return clock.to_ms(conversation.ended_at) - clock.to_ms(conversation.started_at)
