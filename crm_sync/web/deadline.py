"""Answers for a request's body that comes too slowly, breaks off or is no proper chunks, on every route that reads it.

gunicorn has no deadline for a body: a client that stops half-way would hold its place for ever.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from gunicorn.http.errors import ParseException

from crm_sync import clock
from crm_sync.errors import BadRequest, BodyTimeout


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class BodyDeadline:
    """WSGI middleware: reading a body raises `BodyTimeout` once this many seconds have passed since it began.

    A body that does not arrive whole raises `BadRequest`. A read that blocks is cut short under gevent only, which is
    how the service is deployed.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer the request with a body that can only be read in time, and to its end."""
        announced = environ.get("CONTENT_LENGTH") or "0"
        environ["wsgi.input"] = _Body(
            environ["wsgi.input"],
            announced=int(announced) if announced.isascii() and announced.isdigit() else 0,
            ends_at=clock.monotonic() + self._seconds,
        )
        return self._app(environ, start_response)


class _Body:
    def __init__(self, stream: _Stream, *, announced: int, ends_at: float) -> None:
        self._stream = stream
        self._missing = announced
        self._ends_at = ends_at

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._read_in_time(size)
        except (OSError, ParseException) as error:
            raise BadRequest("The body broke off or is not chunked as HTTP says: send it again.") from error
        self._missing -= len(data)
        if self._missing > 0 and (size < 0 or len(data) < size):
            raise BadRequest("The body ended before its Content-Length: send it again, whole.")
        return data

    def readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read_in_time(self, size: int) -> bytes:
        from gevent import Timeout
        from gevent.monkey import is_module_patched

        seconds_left = self._ends_at - clock.monotonic()
        if seconds_left <= 0:
            raise BodyTimeout("The body did not arrive in time: send it at once.")
        if not is_module_patched("socket"):
            return self._stream.read(size)
        with Timeout(seconds_left, BodyTimeout("The body did not arrive in time: send it at once.")):
            return self._stream.read(size)
