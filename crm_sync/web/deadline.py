"""A deadline for a request's body. gunicorn has none: a client that stops half-way would hold its place for ever."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from crm_sync import clock
from crm_sync.errors import BodyTimeout


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class BodyDeadline:
    """WSGI middleware: reading a body raises `BodyTimeout` once this many seconds have passed since it began.

    A read that blocks is cut short under gevent only, which is how the service is deployed.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer the request with a body that can only be read in time."""
        environ["wsgi.input"] = _TimedStream(environ["wsgi.input"], clock.monotonic() + self._seconds)
        return self._app(environ, start_response)


class _TimedStream:
    def __init__(self, stream: _Stream, ends_at: float) -> None:
        self._stream = stream
        self._ends_at = ends_at

    def read(self, size: int = -1) -> bytes:
        from gevent import Timeout
        from gevent.monkey import is_module_patched

        seconds_left = self._ends_at - clock.monotonic()
        if seconds_left <= 0:
            raise BodyTimeout("The body did not arrive in time: send it at once.")
        if not is_module_patched("socket"):
            return self._stream.read(size)
        with Timeout(seconds_left, BodyTimeout("The body did not arrive in time: send it at once.")):
            return self._stream.read(size)

    def readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
