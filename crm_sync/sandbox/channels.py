"""The notification channels of the pretend Genesys Cloud: what each is subscribed to, and who hears what."""

import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject

if TYPE_CHECKING:
    from crm_sync.sandbox.sockets import Sockets

LIFE = timedelta(hours=24)
MAX_CHANNELS = 20
MAX_TOPICS = 1000
BEAT_SECONDS = 30.0


@dataclass(slots=True, kw_only=True, eq=False)
class Channel:
    """One channel. Its topics keep their order, as in a dict."""

    id: str
    expires_at: datetime
    topics: dict[str, None] = field(default_factory=dict)


class Channels:
    """All channels in force. The sockets listen from the first channel on, and need the package `websockets`."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._channels: list[Channel] = []
        self._sockets: Sockets | None = None
        self._beat_seconds: float | None = BEAT_SECONDS

    def open(self, host: str) -> tuple[Channel, int]:
        """Open a channel and return it with the port of its socket; raises Problem 501 without `websockets`.

        One too many closes the oldest, if possible one without a socket.
        """
        channel = Channel(id=str(uuid.uuid4()), expires_at=self._now() + LIFE)
        with self._lock:
            sockets = self._listening(host)
            in_use = sockets.channels()
            known = self._in_force()
            rank = sorted(known, key=lambda one: one.id in in_use)
            evicted = rank[: max(0, len(known) + 1 - MAX_CHANNELS)]
            self._channels = [one for one in [*known, channel] if one not in evicted]
        for one in evicted:
            sockets.close(one.id)
        return channel, sockets.port

    def all(self) -> tuple[list[Channel], int]:
        """Return the channels in force with the port of their sockets."""
        with self._lock:
            port = 0 if self._sockets is None else self._sockets.port
            return self._in_force(), port

    def topics(self, channel_id: str) -> list[str]:
        """Return what a channel is subscribed to; raises Problem 404 for one that is unknown or has expired."""
        with self._lock:
            return list(self._known(channel_id).topics)

    def subscribe(self, channel_id: str, topics: Iterable[str], *, keep: bool) -> list[str]:
        """Subscribe to topics, in place of the others or beside them, and prolong the channel's life.

        Returns all that it is subscribed to; raises Problem 400 for too many, and 404.
        """
        with self._lock:
            channel = self._known(channel_id)
            wanted = (channel.topics if keep else {}) | dict.fromkeys(topics)
            if len(wanted) > MAX_TOPICS:
                raise Problem(400, f"A channel has at most {MAX_TOPICS} topics.")
            channel.topics, channel.expires_at = wanted, self._now() + LIFE
            return list(wanted)

    def publish(self, topic: str, event_body: JSONObject) -> int:
        """Send an event to the sockets of the channels that are subscribed to its topic; return how many heard it."""
        metadata = {"CorrelationId": str(uuid.uuid4())}
        message = {"topicName": topic, "version": "2", "eventBody": event_body, "metadata": metadata}
        with self._lock:
            sockets = self._sockets
            subscribed = [one.id for one in self._in_force() if topic in one.topics]
        return 0 if sockets is None else sum(sockets.send(channel_id, message) for channel_id in subscribed)

    def announce_closing(self) -> int:
        """Tell every socket that it is about to be closed, and return how many were told."""
        message = {"topicName": "v2.system.socket_closing", "eventBody": {"message": "The socket is about to close."}}
        sockets = self._sockets
        return 0 if sockets is None else sum(sockets.send(channel_id, message) for channel_id in sockets.channels())

    def drop(self) -> int:
        """Cut every socket without a word, and return how many there were."""
        sockets = self._sockets
        return 0 if sockets is None else sockets.drop()

    def beat_every(self, seconds: float | None) -> None:
        """Send heartbeats now and then every so often; None stops them."""
        with self._lock:
            self._beat_seconds = seconds
            if self._sockets is not None:
                self._sockets.beat_every(seconds)

    def stop(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, None
        if sockets is not None:
            sockets.stop()

    def _listening(self, host: str) -> "Sockets":
        if self._sockets is None:
            try:
                from crm_sync.sandbox.sockets import Sockets
            except ImportError:
                raise Problem(501, "Notifications need the package websockets: crm-sync[notifications].") from None
            self._sockets = Sockets(host, exists=self._exists, beat_seconds=self._beat_seconds)
        return self._sockets

    def _exists(self, channel_id: str) -> bool:
        with self._lock:
            return any(one.id == channel_id for one in self._in_force())

    def _known(self, channel_id: str) -> Channel:
        found = next((one for one in self._in_force() if one.id == channel_id), None)
        if found is None:
            raise Problem(404, "There is no such channel.")
        return found

    def _in_force(self) -> list[Channel]:
        now = self._now()
        return [one for one in self._channels if one.expires_at > now]
