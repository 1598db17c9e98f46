"""The conversations of the platform, in the order in which they began, so that a window of them is found at once."""

import threading
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from crm_sync.sandbox.platform_conversations import PlatformConversation


class Placed(NamedTuple):
    """A conversation at its place in time. The ends are kept here because to work them out takes a walk."""

    started_at: datetime
    id: str
    ended_at: datetime | None
    conversation: PlatformConversation

    def touches(self, first: datetime, last: datetime) -> bool:
        """Tell whether it lasted at some instant from `first` up to, but not at, `last`."""
        return self.started_at < last and (self.ended_at is None or self.ended_at >= first)


class PlatformStore:
    """All conversations. `version` changes whenever one is added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, PlatformConversation] = {}
        self._by_start: list[Placed] = []
        self._version = 0

    def add(self, conversations: Iterable[PlatformConversation]) -> None:
        """Add conversations, each in the place of the one that has its id already."""
        new = {one.id: Placed(one.started_at, one.id, one.ended_at, one) for one in conversations}
        with self._lock:
            kept = (placed for placed in self._by_start if placed.id not in new)
            self._by_start = sorted([*kept, *new.values()], key=_place)
            self._by_id |= {one.id: one.conversation for one in new.values()}
            self._version += 1

    def find(self, conversation_id: str) -> PlatformConversation | None:
        with self._lock:
            return self._by_id.get(conversation_id)

    def began_between(self, first: datetime, last: datetime) -> list[Placed]:
        """Return those that began from `first` up to, but not at, `last`."""
        with self._lock:
            known = self._by_start
        places = (bisect_left(known, (instant, ""), key=_place) for instant in (first, last))
        return known[slice(*places)]

    def all(self) -> list[PlatformConversation]:
        with self._lock:
            return [one.conversation for one in self._by_start]

    @property
    def version(self) -> int:
        with self._lock:
            return self._version


def _place(placed: Placed) -> tuple[datetime, str]:
    return placed.started_at, placed.id
