"""The server of the sandbox: connections kept alive, many at once, and a stop that leaves nothing open."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from click.testing import CliRunner
from flask import Flask, request

from crm_sync.cli.sandbox import sandbox
from crm_sync.sandbox.client import CRMControl, GenesysControl
from crm_sync.sandbox.faults import pause
from crm_sync.sandbox.server import Server, serve

COMMAND = [sys.executable, "-c", "from crm_sync.cli.sandbox import sandbox; sandbox()"]


@pytest.fixture
def echo() -> Iterator[Server]:
    app = Flask("echo", static_folder=None)

    @app.post("/")
    def answer() -> dict[str, object]:
        return {"peer": request.environ["REMOTE_PORT"], "body": request.get_data(as_text=True)}

    @app.post("/unread")
    def leave_unread() -> dict[str, object]:
        return {"peer": request.environ["REMOTE_PORT"]}

    with serve(app) as server:
        yield server


def test_a_connection_is_kept_alive_also_after_a_body_that_nobody_read(echo: Server) -> None:
    with requests.Session() as session:
        peers = [session.post(f"{echo.url}{path}", data="x" * 9).json()["peer"] for path in ("/unread", "/", "/unread")]

    assert len(set(peers)) == 1


def test_a_chunked_body_is_read(echo: Server) -> None:
    assert requests.post(echo.url, data=iter([b"ab", b"cd"]), timeout=10).json()["body"] == "abcd"


def test_many_clients_at_once_are_all_answered(echo: Server) -> None:
    start = threading.Barrier(50)

    def ask(number: int) -> str:
        start.wait()
        with requests.Session() as session:
            return "".join(session.post(echo.url, data=str(number), timeout=30).json()["body"] for _ in range(4))

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))

    assert answers == [str(number) * 4 for number in range(50)]


def test_a_stop_answers_what_is_pending_and_closes_idle_connections() -> None:
    entered = threading.Event()
    app = Flask("slow", static_folder=None)
    app.add_url_rule("/", view_func=lambda: "quick")

    @app.get("/slow")
    def wait() -> str:
        entered.set()
        pause(request.environ, 60)
        return "done"

    server = serve(app)
    with (
        socket.create_connection(("127.0.0.1", server.port)) as idle,
        ThreadPoolExecutor(1) as pool,
        idle.makefile("rb") as answers,
    ):
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first_line = answers.readline()
        pending = pool.submit(requests.get, f"{server.url}/slow", timeout=30)
        entered.wait()
        server.stop()

        assert first_line == b"HTTP/1.1 200 OK\r\n"
        assert answers.read().endswith(b"quick")
        assert pending.result().text == "done"
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=5)


def test_a_taken_port_is_an_error_and_not_the_end_of_the_process(echo: Server) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(Flask("other"), port=echo.port)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_is_and_stops_cleanly_on_a_signal(end: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "genesys", "--port", "0", "--client-id", "me", "--client-secret", "mine"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        form = {"grant_type": "client_credentials", "client_id": "me", "client_secret": "mine"}
        granted = requests.post(f"{url}/oauth/token", data=form, timeout=10).status_code
        with GenesysControl(url) as control:
            known = control.conversations()
        process.send_signal(end)
        rest = process.stdout.read()

    assert (granted, known, rest, process.returncode) == (200, [], "", 0)


def test_the_crm_command_names_its_secret_and_its_address() -> None:
    process = subprocess.Popen([*COMMAND, "crm", "--port", "0"], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        secret, url = process.stdout.readline().split()[-1], process.stdout.readline().split()[-1]
        with CRMControl(url) as control:
            records = control.records()
        process.terminate()

    assert secret.startswith("whsec_")
    assert (records, process.returncode) == ([], 0)


def test_a_taken_port_is_told_with_its_remedy(echo: Server) -> None:
    result = CliRunner().invoke(sandbox, ["crm", "--port", str(echo.port)])

    assert result.exit_code == 1
    assert "Choose another with --port" in result.output


def test_a_secret_of_another_form_is_a_wrong_usage() -> None:
    result = CliRunner().invoke(sandbox, ["crm", "--secret", "plain"])

    assert result.exit_code == 2
    assert "whsec_" in result.output
