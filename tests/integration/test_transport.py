"""The way out over HTTP, against servers that do what servers do on a bad day."""

import gzip
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from crm_sync.errors import AdapterFailure, Fault, Kind
from crm_sync.testing.server import Answer, PretendServer
from crm_sync.transport import HTTPTransport

SECRET = "hunter2-hunter2"


@pytest.fixture
def server() -> Iterator[PretendServer]:
    with PretendServer(lambda request: Answer(body=request.body or b"nothing")) as server:
        yield server


@pytest.fixture
def transport() -> Iterator[HTTPTransport]:
    with closing(HTTPTransport(allow_private=True, total_seconds=1)) as transport:
        yield transport


def fault_of(send: Callable[[], object]) -> Fault:
    with pytest.raises(AdapterFailure) as caught:
        send()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert SECRET not in str(caught.value) + repr(caught.value.fault)
    return caught.value.fault


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection by hand."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                try:
                    talk(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_request_arrives_as_it_was_sent(server: PretendServer, transport: HTTPTransport) -> None:
    answer = transport.send(
        "POST", f"{server.url}/a", headers={"X-Own": "1"}, body="\N{SNOWMAN}".encode(), params={"q": "a b&c"}
    )

    [request] = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/a?q=a+b%26c", "\N{SNOWMAN}".encode())
    assert (request.headers["x-own"], request.headers["user-agent"]) == ("1", "crm-sync")
    assert (answer.status, answer.body, answer.is_success) == (200, "\N{SNOWMAN}".encode(), True)


def test_answer_headers_match_in_any_case(server: PretendServer, transport: HTTPTransport) -> None:
    server.script.append(Answer(status=404, headers={"X-Request-Id": "7"}, body=b'{"a": 1}'))

    answer = transport.send("GET", server.url)

    assert (answer.status, answer.headers["x-request-id"], answer.json()) == (404, "7", {"a": 1})


def test_a_redirect_is_an_answer_like_any_other(server: PretendServer, transport: HTTPTransport) -> None:
    server.script.append(Answer(status=302, headers={"location": f"{server.url}/elsewhere"}))

    assert transport.send("GET", server.url).status == 302
    assert len(server.requests) == 1


def test_cookies_are_not_kept(server: PretendServer, transport: HTTPTransport) -> None:
    server.script.append(Answer(headers={"set-cookie": "a=" + "x" * 4000}))

    transport.send("GET", server.url)
    transport.send("GET", server.url)

    assert "cookie" not in server.requests[1].headers


def test_the_environment_decides_nothing(
    server: PretendServer, transport: HTTPTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert transport.send("GET", server.url).status == 200


def test_nobody_listening_means_nothing_was_sent(transport: HTTPTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    fault = fault_of(lambda: transport.send("POST", f"http://127.0.0.1:{port}/{SECRET}"))

    assert (fault.kind, fault.code) == (Kind.RETRYABLE, "unreachable")


def test_an_unknown_name_means_nothing_was_sent(transport: HTTPTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert fault_of(lambda: transport.send("GET", "http://crm.example.invalid")).kind is Kind.RETRYABLE


def test_a_resolver_that_hangs_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait() and [])

    with closing(HTTPTransport(allow_private=True, connect_seconds=0.05)) as transport:
        fault = fault_of(lambda: transport.send("GET", "http://crm.example.invalid"))
    released.set()

    assert fault.kind is Kind.RETRYABLE


def test_a_server_without_tls_means_nothing_was_sent(server: PretendServer, transport: HTTPTransport) -> None:
    fault = fault_of(lambda: transport.send("POST", server.url.replace("http:", "https:"), body=b"x"))

    assert (fault.kind, fault.code) == (Kind.RETRYABLE, "tls_failed")
    assert server.requests == []


def _silence(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _drip_headers(connection: socket.socket) -> None:
    connection.settimeout(0.02)
    while True:
        connection.sendall(b"H")
        with suppress(TimeoutError):
            connection.recv(65536)


def _endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


def _continue_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def _no_http(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"220 smtp.example.invalid ESMTP\r\n")


def _broken_chunks(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n")


def _reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize(
    "talk", [_silence, _drip_headers, _endless_headers, _continue_for_ever, _no_http, _broken_chunks, _reset]
)
def test_no_usable_answer_after_sending_is_uncertain(talk: Callable[[socket.socket], None]) -> None:
    with listening(talk) as url, closing(HTTPTransport(allow_private=True, total_seconds=0.4)) as transport:
        fault = fault_of(lambda: transport.send("POST", f"{url}/{SECRET}", body=b"x"))

    assert fault.kind is Kind.AMBIGUOUS


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(is_endless=True), "answer_too_large"),
        (Answer(body=b"x" * (1024 * 1024 + 1)), "answer_too_large"),
        (Answer(headers={"content-encoding": "gzip"}, body=gzip.compress(b"x" * 50_000_000)), "answer_too_large"),
        (Answer(headers={"content-encoding": "gzip"}, body=b"no gzip"), "connection_lost"),
        (Answer(body=b"x" * 1000, sends=10), "connection_lost"),
        (Answer(body=b"x" * 1000, drip_seconds=0.01), "timeout"),
        (Answer(is_lost=True), "connection_lost"),
    ],
)
def test_an_answer_that_cannot_be_read_to_its_end_is_uncertain(
    server: PretendServer, transport: HTTPTransport, answer: Answer, code: str
) -> None:
    server.script.append(answer)

    fault = fault_of(lambda: transport.send("POST", server.url, body=b"x"))

    assert (fault.kind, fault.code) == (Kind.AMBIGUOUS, code)
    assert transport.send("POST", server.url, body=b"again").body == b"again"
    assert len(server.requests) == 2


def test_an_answer_of_just_the_limit_is_read(server: PretendServer, transport: HTTPTransport) -> None:
    server.script.append(Answer(body=b"x" * 1024 * 1024))

    assert len(transport.send("GET", server.url).body) == 1024 * 1024


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "0177.0.0.1", "0", "127.1", "[::ffff:127.0.0.1]"],
)
def test_a_private_address_is_refused_however_it_is_written(server: PretendServer, host: str) -> None:
    port = server.url.rsplit(":", 1)[1]

    with closing(HTTPTransport(allow_private=False)) as transport:
        fault = fault_of(lambda: transport.send("POST", f"http://{host}:{port}/", body=b"x"))

    assert fault.kind is Kind.CONFIG
    assert server.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "192.168.0.1", "[fd00::1]"])
def test_a_private_address_is_not_even_knocked_at(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    knocked: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, *_: knocked.append(address))

    with closing(HTTPTransport(allow_private=False)) as transport:
        fault = fault_of(lambda: transport.send("GET", f"http://{host}/latest/meta-data"))

    assert (fault.kind, fault.code, knocked) == (Kind.CONFIG, "address_refused", [])


def test_a_name_is_resolved_once_and_the_checked_address_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    knocked: list[Any] = []

    def rebinding(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.1", "93.184.215.14")[-len(asked) :]]

    def refusing(address: object, *_: object) -> None:
        knocked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", refusing)

    with closing(HTTPTransport(allow_private=False)) as transport:
        fault_of(lambda: transport.send("GET", "http://rebinding.example.invalid:81/"))
        fault_of(lambda: transport.send("GET", "http://rebinding.example.invalid:81/"))

    assert asked == ["rebinding.example.invalid"] * 2
    assert knocked == [("93.184.215.14", 81)] * 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "//127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "http://",
        "http://[::1",
        "http://a..b/",
        "http://127.0.0.1:99999/",
        f"http://user:{SECRET}@127.0.0.1/",
        f"http://{'a' * 64}.invalid/",
    ],
)
def test_an_address_that_is_none_is_a_matter_of_settings(transport: HTTPTransport, url: str) -> None:
    assert fault_of(lambda: transport.send("GET", url)).kind is Kind.CONFIG


@pytest.mark.parametrize(
    "headers", [{"X-Id": "a\r\nX-Evil: 1"}, {"X-Id": "a\nb"}, {"X-Id": "\N{SNOWMAN}"}, {"X\r": "a"}]
)
def test_a_header_that_no_header_can_be_is_refused(
    server: PretendServer, transport: HTTPTransport, headers: Mapping[str, str]
) -> None:
    fault = fault_of(lambda: transport.send("GET", server.url, headers=headers))

    assert (fault.kind, server.requests) == (Kind.DATA, [])


def test_many_threads_share_one(server: PretendServer, transport: HTTPTransport) -> None:
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda n: transport.send("POST", server.url, body=b"%d" % n).body, range(200)))

    assert bodies == [b"%d" % n for n in range(200)]


def test_it_may_be_closed_twice_and_used_after(server: PretendServer, transport: HTTPTransport) -> None:
    transport.send("GET", server.url)

    transport.close()
    transport.close()

    assert transport.send("GET", server.url).status == 200


def test_greenlets_share_one_as_threads_do(server: PretendServer) -> None:
    program = textwrap.dedent(
        f"""
        from gevent import monkey; monkey.patch_all()
        import gevent
        from crm_sync.errors import AdapterFailure
        from crm_sync.transport import HTTPTransport
        transport = HTTPTransport(allow_private=True, total_seconds=0.5)
        url = {server.url!r}
        jobs = [gevent.spawn(lambda n: transport.send("POST", url, body=b"%d" % n).body, n) for n in range(50)]
        gevent.joinall(jobs, raise_error=True)
        assert [job.value for job in jobs] == [b"%d" % n for n in range(50)]
        transport.close()
        """
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.requests) == 50
