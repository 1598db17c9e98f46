"""The WebSockets of the pretend Genesys Cloud: one for each channel, with heartbeats and answers to pings."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from crm_sync.sandbox.wire import JSONObject, compact

CLOSE_SECONDS = 1.0
PATH = "/channels/"


class Sockets:
    """Listens from now on until `stop`. A second socket of a channel closes the first."""

    def __init__(self, host: str, *, exists: Callable[[str], bool], beat_seconds: float | None) -> None:
        self._exists = exists
        self._beat_seconds = beat_seconds
        self._changed = threading.Condition()
        self._open: dict[str, ServerConnection] = {}
        self._is_hurried = False
        self._is_stopped = False
        # Its own pings are off: a client shall see the platform's heartbeats and nothing else.
        self._server = serve(
            self._talk, host, 0, process_request=self._let_in, ping_interval=None, close_timeout=CLOSE_SECONDS
        )
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="sandbox-sockets"),
            threading.Thread(target=self._beat, name="sandbox-heartbeat"),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        return int(self._server.socket.getsockname()[1])

    def channels(self) -> list[str]:
        """Return the ids of the channels that have a socket, in the order of their sockets."""
        with self._changed:
            return list(self._open)

    def send(self, channel_id: str, message: JSONObject) -> bool:
        """Send to a channel's socket; tell whether it has one. What is sent without a socket is lost, as documented."""
        with self._changed:
            connection = self._open.get(channel_id)
        if connection is None:
            return False
        with suppress(ConnectionClosed):
            connection.send(compact(message).decode())
            return True
        return False

    def close(self, channel_id: str) -> None:
        """Close a channel's socket properly."""
        with self._changed:
            connection = self._open.get(channel_id)
        if connection is not None:
            connection.close()

    def drop(self) -> int:
        """Cut every connection without a word, and return how many there were."""
        with self._changed:
            connections = list(self._open.values())
            self._open.clear()
        for connection in connections:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        return len(connections)

    def beat_every(self, seconds: float | None) -> None:
        """Send a heartbeat now and then every so often; None stops them."""
        with self._changed:
            self._beat_seconds = seconds
            self._is_hurried = True
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = self._is_hurried = True
            self._changed.notify_all()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()

    def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        known = request.path.startswith(PATH) and self._exists(request.path.removeprefix(PATH))
        return None if known else Response(404, "Not Found", Headers({"Content-Length": "0"}))

    def _talk(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None, "The handshake is done."
        channel_id = request.path.removeprefix(PATH)
        with self._changed:
            before = self._open.pop(channel_id, None)
            self._open[channel_id] = connection
        if before is not None:
            before.close()
        try:
            with suppress(ConnectionClosed):
                for message in connection:
                    if _is_ping(message):
                        self.send(channel_id, _metadata("pong"))
        finally:
            with self._changed:
                if self._open.get(channel_id) is connection:
                    del self._open[channel_id]

    def _beat(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_hurried, self._beat_seconds)
                if self._is_stopped:
                    return
                self._is_hurried = False
                silent = self._beat_seconds is None
            for channel_id in self.channels():
                if not self._exists(channel_id):
                    self.close(channel_id)
                elif not silent:
                    self.send(channel_id, _metadata("WebSocket Heartbeat"))


def _is_ping(message: str | bytes) -> bool:
    try:
        return bool(json.loads(message) == {"message": "ping"})
    except ValueError:
        return False


def _metadata(message: str) -> JSONObject:
    return {"topicName": "channel.metadata", "eventBody": {"message": message}}
