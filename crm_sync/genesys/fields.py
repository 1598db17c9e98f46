"""Read single fields of a Genesys object: the wrong type, or too much of it, is refused with the field's name."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from crm_sync import clock, when
from crm_sync.closure import canonical_id
from crm_sync.genesys.payload import Unreadable

ID_LENGTH = 200
WORD_LENGTH = 200
ADDRESS_LENGTH = 1000
PERSON_LENGTH = 400
TEXT_LENGTH = 100_000
LONGEST_MS = 10**12
"""Thirty years. A sum of such durations stays within the database's integers."""

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)

MEDIA_TYPES = frozenset(when.MEDIA)
MESSAGE_TYPES = frozenset(
    ("sms", "twitter", "facebook", "line", "whatsapp", "webmessaging", "open", "instagram", "apple", "linkedin")
)
DIRECTIONS = frozenset(when.DIRECTIONS)


def text(data: Mapping[str, Any], name: str, length: int = WORD_LENGTH) -> str | None:
    """Return a text, None when it is absent, null or blank."""
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{name} is not a text")
    if len(value) > length:
        raise Unreadable(f"{name} is longer than {length} characters")
    return value if value.strip() else None


def identifier(data: Mapping[str, Any], name: str) -> str | None:
    """Return an id; a UUID in lower case, since systems differ in how they spell it."""
    value = text(data, name, ID_LENGTH)
    return None if value is None else canonical_id(value)


def identifiers(data: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of ids, empty when it is absent."""
    values = data.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise Unreadable(f"{name} is not a list")
    ids = (identifier({f"{name}[{place}]": value}, f"{name}[{place}]") for place, value in enumerate(values))
    return [value for value in ids if value is not None]


def word(data: Mapping[str, Any], name: str, known: frozenset[str]) -> str | None:
    """Return an enumeration's word in lower case; one that we do not know is `unknown`, and never costs a closure."""
    value = text(data, name)
    if value is None:
        return None
    return value.lower() if value.lower() in known else "unknown"


def flag(data: Mapping[str, Any], name: str) -> bool | None:
    """Return true or false, None when it is absent."""
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise Unreadable(f"{name} is neither true nor false")
    return value


def mapping(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object, empty when it is absent."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"{name} is not an object")
    return value


def milliseconds(data: Mapping[str, Any], name: str) -> int | None:
    """Return a duration in whole milliseconds."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise Unreadable(f"{name} is not a duration in milliseconds")
    if not 0 <= value <= LONGEST_MS:
        raise Unreadable(f"{name} is negative or longer than thirty years")
    return int(value)


def instant(data: Mapping[str, Any], name: str, *, not_after: datetime) -> datetime | None:
    """Return an instant given as epoch milliseconds (a number, or digits in a text) or as RFC 3339 with a zone.

    One before 1990 or after `not_after` is refused: it is a unit mistaken or a clock gone wrong, and would win for
    ever against every true one.
    """
    value = data.get(name)
    if value is None:
        return None
    try:
        # To the millisecond, and before anything is compared with it: some senders write more digits.
        found = clock.from_ms(clock.to_ms(_as_instant(value)))
    except (ValueError, OverflowError):
        raise Unreadable(f"{name} is not an instant") from None
    if not _EARLIEST <= found <= not_after:
        raise Unreadable(f"{name} lies before 1990 or in the future")
    return found


def _as_instant(value: object) -> datetime:
    if isinstance(value, str):
        if value.strip().isascii() and value.strip().isdigit():
            return clock.from_ms(int(value))
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError
    return clock.from_ms(int(value))
