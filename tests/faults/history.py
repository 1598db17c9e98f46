"""One run as one file of JSON lines: all that was sent, acknowledged, killed, leased, pushed, and stored in the end.

The first line is the run itself, with its seed. Instants (`at`, `until`, and those of a push) are seconds since 1970.

| line | says |
| --- | --- |
| run | `seed`, `engine`, `lease_seconds`, `push_deadline_seconds`, `patience_seconds` |
| sent | `at`; of the event `event` (the digest of its body), `conversation_id`, `ended_at` |
| acked | `at`, `event`, `status` |
| unanswered | `at`, `event`: a post of it has failed, or was refused |
| killed | `at`, `process`, `worker` (its id), `held`: what it held, as below |
| leases | `at`, `held`: the leases of that moment, with `delivery`, `target`, `conversation_id`, `token`, `until` |
| push | `target`, and what the pretend CRM tells of it |
| record | what the pretend CRM holds: `target`, `conversation_id`, `version`, `ended_at` |
| event, closure, delivery, target | a row of that table at the end |
| store | `problems` of the store as such, as sentences |
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypeAlias

Line: TypeAlias = dict[str, Any]


class History:
    """The history that a run writes, from any of its threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("w", encoding="utf-8")

    def note(self, line: str, **fields: Any) -> None:
        """Write down one thing that has happened."""
        written = json.dumps({"line": line, **fields}) + "\n"
        with self._lock:
            self._file.write(written)
            self._file.flush()  # A run that is broken off leaves all that had happened until then.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def digest(body: bytes) -> str:
    """Return the name of an event in a history."""
    return hashlib.sha256(body).hexdigest()[:16]


def read(path: Path) -> Iterator[Line]:
    """Return the lines of a history."""
    with path.open(encoding="utf-8") as file:
        for written in file:
            yield json.loads(written)


def about(path: Path, subject: str) -> list[str]:
    """Return the lines that speak of one conversation or one event, for whoever looks for what went wrong."""
    with path.open(encoding="utf-8") as file:
        return [_only(json.loads(line), subject) for line in file if subject in line]


def _only(line: Line, subject: str) -> str:
    if "held" in line:
        line["held"] = [held for held in line["held"] if subject in held.values()]
    return json.dumps(line)
