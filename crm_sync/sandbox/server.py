"""Serves a pretend system: in a background thread for tests and the demo, or until a signal for the command line."""

import io
import signal
import socket
import threading
from contextlib import suppress
from typing import Any, Self

from flask import Flask
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.test import run_wsgi_app

from crm_sync.sandbox.crm import CRMState, create_crm
from crm_sync.sandbox.faults import STOPPING
from crm_sync.sandbox.genesys import create_genesys
from crm_sync.sandbox.genesys_state import GenesysOptions, GenesysState

BACKLOG = 1024
STOP_SECONDS = 5.0


class Server:
    """An application that is being served, until `stop`."""

    def __init__(self, server: "_ThreadedServer") -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="sandbox-server")
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        host = f"[{self._server.host}]" if ":" in self._server.host else self._server.host
        return f"http://{host}:{self.port}"

    def stop(self) -> None:
        """Answer what is being answered, then close the port and every connection."""
        self._server.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(app: Flask, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Serve an application from now on; port 0 takes a free one. Raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Werkzeug ends the process when it cannot bind, and its backlog is short: so the socket is made here.
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        return Server(_ThreadedServer(host, listener.getsockname()[1], app, _Handler, fd=listener.fileno()))


def run_genesys(options: GenesysOptions, *, host: str, port: int) -> None:
    """Serve a pretend Genesys Cloud until SIGTERM or SIGINT."""
    with GenesysState(options) as state:
        _run(create_genesys(state), "pretend Genesys Cloud", host=host, port=port)


def run_crm(state: CRMState, *, host: str, port: int) -> None:
    """Serve a pretend CRM until SIGTERM or SIGINT."""
    _run(create_crm(state), "pretend CRM", host=host, port=port)


def _run(app: Flask, name: str, *, host: str, port: int) -> None:
    ends = {signal.SIGTERM, signal.SIGINT}
    # Blocked before any thread starts, so that none inherits them and `sigwait` alone receives them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        with serve(app, host, port) as server:
            print(f"The {name} is ready at {server.url}", flush=True)
            signal.sigwait(ends)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ThreadedServer(ThreadedWSGIServer):
    """Knows its open connections, so that it can close those that a client keeps alive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stopping = threading.Event()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def close_connections(self) -> None:
        with self._changed:
            for connection in self._open:
                # Only the reading side: an answer on its way still arrives, and the next request line never does.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._open, STOP_SECONDS)


class _Handler(WSGIRequestHandler):
    """Keeps connections alive, which Werkzeug's own handler never does, and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _ThreadedServer

    def run_wsgi(self) -> None:
        environ = self.make_environ() | {STOPPING: self.server.stopping}
        try:
            environ["wsgi.input"] = io.BytesIO(self._read_body(environ))
        except (ValueError, OSError):
            self.close_connection = True
            return
        content, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"".join(content))

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing: the control API tells what was asked and answered."""

    def _read_body(self, environ: dict[str, Any]) -> bytes:
        # Read to its end before the call, whether the application wants it or not: the next request line follows it.
        stream: io.BufferedIOBase = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):
            return stream.read()
        return stream.read(int(environ.get("CONTENT_LENGTH") or 0))
