"""A pretend CRM on a loopback port: it answers as its author says, and misbehaves as a test says."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What arrived. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back, and how badly.

    `is_applied`: the request takes effect first, as if this answer replaced the true one on the way. `sends`: how many
    bytes of the body are really sent, of the length that is announced. `endless`: the body never ends. `drip_seconds`:
    a byte, then this pause. `is_lost`: nothing is sent, the connection is cut.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_applied: bool = False
    is_lost: bool = False
    sends: int | None = None
    is_endless: bool = False
    drip_seconds: float = 0


class PretendServer:
    """Serves until closed. `script` holds answers for the coming requests; after them `respond` is asked."""

    def __init__(self, respond: Callable[[Request], Answer]) -> None:
        self.respond = respond
        self.script: deque[Answer] = deque()
        self.requests: list[Request] = []
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop, and wait for every connection to end."""
        self._closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request: one from the script, or the true one."""
        with self._lock:
            self.requests.append(request)
            scripted = self.script.popleft() if self.script else None
            if scripted is None or scripted.is_applied:
                true = self.respond(request)
            return true if scripted is None else scripted

    def pause(self, seconds: float) -> bool:
        """Wait; false when the server was closed meanwhile."""
        return not self._closed.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, owner: PretendServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 1

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            # A client that has heard enough has every right to hang up.
            self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(method=self.command, path=self.path, headers=headers, body=body)
        answer = self.server.owner.answer(request)
        if answer.is_lost:
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not answer.is_endless:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        sent = answer.body[: answer.sends]
        if answer.drip_seconds:
            self._drip(sent, answer.drip_seconds)
        else:
            self.wfile.write(sent)
        while answer.is_endless and self.server.owner.pause(0):
            self.wfile.write(b" " * 65536)
        self.close_connection = answer.is_endless or len(sent) < len(answer.body)

    def _drip(self, body: bytes, seconds: float) -> None:
        for byte in body:
            if not self.server.owner.pause(seconds):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
