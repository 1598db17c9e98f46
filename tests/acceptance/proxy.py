"""A TCP proxy that can be closed, opened and frozen: a database that goes away and comes back."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

CHUNK = 65_536


class Proxy:
    """Carries connections from a port of its own to what `upstream` connects to, while it is open and not frozen."""

    def __init__(self, upstream: Callable[[], socket.socket]) -> None:
        self._upstream = upstream
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._carriers: list[threading.Thread] = []
        self.port = 0
        self.open()

    def close(self) -> None:
        """Cut every connection and take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        self._flows.set()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for carrier in self._carriers:
            carrier.join()
        self._carriers.clear()

    def open(self) -> None:
        """Take connections again, at the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,))
        self._acceptor.start()

    def freeze(self) -> None:
        """Keep the connections and carry nothing, as a network that drops packets does."""
        self._flows.clear()

    def thaw(self) -> None:
        """Carry what has been held back, and go on."""
        self._flows.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = self._upstream()
                with self._lock:
                    self._connections |= {near, far}
                for ends in ((near, far), (far, near)):
                    self._carriers.append(threading.Thread(target=self._carry, args=ends))
                    self._carriers[-1].start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            # Both directions are over before either socket is closed, or its number could be another's by then.
            if source not in self._connections:
                sink.close()
                source.close()
            self._connections.discard(sink)
