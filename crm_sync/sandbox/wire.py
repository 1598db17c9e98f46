"""JSON as both pretend systems read and write it: strict on the way in, compact UTF-8 on the way out."""

import json
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeAlias

from crm_sync import clock

JSONObject: TypeAlias = dict[str, Any]


class MalformedBody(ValueError):
    """The body is not the JSON that was asked for."""


def read_object(body: bytes) -> JSONObject:
    """Return the JSON object in a body; raises MalformedBody for anything else, also for NaN and half a surrogate."""
    value = read_value(body)
    if not isinstance(value, dict):
        raise MalformedBody("The body is not a JSON object.")
    return value


def read_value(body: bytes) -> Any:
    """Return the JSON value in a body, as strictly as `read_object`."""
    try:
        value = json.loads(body, parse_constant=_refuse)
        compact(value)
    except (ValueError, RecursionError):
        raise MalformedBody("The body is not valid JSON.") from None
    return value


def compact(value: Any) -> bytes:
    """Return a value as JSON without blanks, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def read_instant(text: Any) -> datetime | None:
    """Return the instant of an RFC 3339 text in UTC, or None for what is not one."""
    if not isinstance(text, str):
        return None
    try:
        instant = datetime.fromisoformat(text)
        return None if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def instant_text(instant: datetime | None) -> str | None:
    """Return an instant as both systems write it, or None for none."""
    return None if instant is None else clock.to_text(instant)


def known(body: JSONObject) -> JSONObject:
    """Return a body without what is not known, as Genesys Cloud leaves it out."""
    return {name: value for name, value in body.items() if value is not None}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
