"""Decode JSON that a stranger may have written: what comes out is safe for every column on either engine.

pydantic-core decodes (it refuses NaN, broken UTF-8, half surrogates and deep nesting), one walk bounds numbers, depth
and size and replaces NUL, which PostgreSQL cannot keep, and one scan refuses a key that identifies and stands twice.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

LARGEST_NUMBER = 2**53 - 1
DEEPEST = 64
MOST_NODES = 10_000
REPLACEMENT = "\ufffd"

_IDENTIFYING = frozenset(
    ("id", "conversationId", "sessionId", "participantId", "eventTime", "topicName", "endTime", "wrapupCode",
     "resolutionStatus", "state")
)  # fmt: skip


class Unreadable(ValueError):
    """The body is no JSON that we can take; the message says what and where, and may be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A JSON value, as it came and as it can be stored; `altered` tells whether text in it differs."""

    raw: Any
    value: Any
    altered: bool


def decode(body: bytes) -> Decoded:
    """Return the JSON value of a body; raises `Unreadable`."""
    try:
        raw = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Unreadable(f"not JSON: {str(error)[:200]}") from None
    walk = _Walk()
    value = walk.clean(raw, "$", 0)
    json.loads(body, object_pairs_hook=_refuse_twins)  # Only looked at: what is used comes from one decoder.
    return Decoded(raw=raw, value=value, altered=walk.altered)


class _Walk:
    def __init__(self) -> None:
        self.nodes = 0
        self.altered = False

    def clean(self, value: Any, path: str, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise Unreadable(f"more than {MOST_NODES} values")
        if depth > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST} levels")
        match value:
            case str():
                return self._text(value)
            case bool() | None:
                return value
            case int() | float():
                if abs(value) > LARGEST_NUMBER:
                    raise Unreadable(f"the number at {path[:200]} is out of range")
                return value or 0  # JSONB keeps no negative zero.
            case list():
                return [self.clean(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
            case dict():
                # The path may end up in a reason, hence the name as altered.
                return {(name := self._text(k)): self.clean(v, f"{path}.{name}", depth + 1) for k, v in value.items()}
        raise Unreadable(f"a value of an unknown kind at {path[:200]}")

    def _text(self, value: str) -> str:
        if "\0" not in value:
            return value
        self.altered = True
        return value.replace("\0", REPLACEMENT)


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs if name in _IDENTIFYING]
    if len(names) != len(set(names)):
        twin = next(name for name in names if names.count(name) > 1)
        raise Unreadable(f"the key {twin} stands twice in one object")
