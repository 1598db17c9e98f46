"""The service as deployed: its processes for one test, told only by settings and signals, and judged from outside."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import requests
from sqlalchemy import NullPool, create_engine, inspect, make_url, text
from sqlalchemy.engine import Engine

from crm_sync.sandbox.client import CRMControl, GenesysControl
from crm_sync.sandbox.crm import SANDBOX_SECRET
from crm_sync.store.engine import sqlite_module

Found = TypeVar("Found")

PROJECT = Path(__file__).parents[2]
SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGUgYWNjZXB0YW5jZSB0ZXN0cw=="
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
WAIT_SECONDS = 40.0
IS_LONG = os.environ.get("CRM_SYNC_FAULTS_LONG") == "1"
"""Whether the tests that say so take minutes, and prove more."""
STOP_SECONDS = 20.0


def free_port() -> int:
    """Return a port below those that outgoing connections take, so that none of them takes it before the server."""
    while True:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def webhook_target(crm_url: str, name: str = "crm", *, concurrency: int = 2, **settings: float) -> str:
    """Return the settings of a target that pushes to a pretend CRM."""
    numbers = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return f"""
[targets.{name}]
adapter = "webhook"
url = "{crm_url}/records"
secrets = ["{SANDBOX_SECRET}"]
allow_private_addresses = true
concurrency = {concurrency}
{numbers}"""


@dataclass(slots=True, kw_only=True)
class Running:
    """A process and what it has said."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    def said(self) -> str:
        """Return everything that it has written, to either stream."""
        return self.log.read_text(errors="replace")

    def logged(self, *events: str) -> list[dict[str, Any]]:
        """Return the lines of its log that tell of these; it must have been started with LOG_FORMAT=json."""
        complete = (line for line in self.said().splitlines() if line.startswith("{") and line.endswith("}"))
        return [line for line in map(json.loads, complete) if line["event"] in events]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return its exit code once it has ended."""
        return self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """End it, and every process that it has started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class World:
    """The processes of one test, on one database: the checkout's own, or an installed `program`.

    `settings` is the content of their crm-sync.toml, `environment` what is added to an environment without settings.
    """

    def __init__(self, folder: Path, database_url: str, *, program: Path | None = None) -> None:
        self.folder = folder
        self._command = [str(program)] if program else [sys.executable, "-m", "crm_sync"]
        self._search_path = {} if program else {"PYTHONPATH": str(PROJECT)}
        self.database_url = database_url
        self.settings = ""
        self.environment: dict[str, str] = {"WEBHOOK_SECRETS": SECRET, "GENESYS_REGISTRATION": "none"}
        self._running: list[Running] = []
        self._controls: list[CRMControl | GenesysControl] = []
        self._tokens: dict[str, str] = {}
        self._engine: Engine | None = None

    def spawn(self, *arguments: str, **environment: str) -> Running:
        """Start `crm-sync` with these arguments, and with nothing of our own settings."""
        (self.folder / "crm-sync.toml").write_text(self.settings)
        log = self.folder / f"{len(self._running)}-{arguments[0]}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=self.folder,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(Running(process=process, log=log))
        return self._running[-1]

    def crm_sync(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        (self.folder / "crm-sync.toml").write_text(self.settings)
        return subprocess.run(
            [*self._command, *arguments],
            cwd=self.folder,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def web(self, *, port: int | None = None, wait: bool = True, **environment: str) -> Running:
        """Start the web process, on a free port unless told which, and wait until it answers."""
        port = port or free_port()
        web = self.spawn("web", PORT=str(port), **environment)
        web.url = f"http://127.0.0.1:{port}"
        if wait:
            self.until_answers(web)
        return web

    @property
    def web_url(self) -> str:
        """Where the youngest web process listens."""
        return next(one.url for one in reversed(self._running) if one.log.name.endswith("-web.log"))

    def until_answers(self, web: Running) -> None:
        """Wait until this web process answers."""

        def answers() -> bool:
            if web.process.poll() is not None:
                raise AssertionError(f"web has ended by itself:\n{web.said()}")
            with suppress(requests.RequestException):
                return ask(f"{web.url}/healthz").ok
            return False

        self.until(answers, "web answers")

    def children(self, parent: Running) -> set[int]:
        """Return the ids of the processes that this one has started and that still run."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = (map(int, line.split()) for line in listed.splitlines())
        return {pid for pid, ppid in pairs if ppid == parent.process.pid}

    def worker(self, **environment: str) -> Running:
        """Start a worker, and wait until it delivers."""
        worker = self.spawn("worker", **environment)
        self.until(lambda: "worker_started" in worker.said(), "the worker has started")
        return worker

    def crm(self) -> CRMControl:
        """Start a pretend CRM."""
        return self._keep(CRMControl(self._pretend("crm", "--port", "0")))

    def genesys(self, *options: str, port: int = 0) -> GenesysControl:
        """Start a pretend Genesys Cloud."""
        return self._keep(GenesysControl(self._pretend("genesys", "--port", str(port), *options)))

    def token(self, role: str = "operator") -> str:
        """Return a bearer token of the API."""
        if role not in self._tokens:
            made = self.crm_sync("token", "create", "acceptance", "--role", role)
            assert made.returncode == 0, made.stderr
            self._tokens[role] = made.stdout.strip()
        return self._tokens[role]

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return what the database holds, in the same values on either engine."""
        with self.engine.connect() as connection:
            found = connection.execute(text(query), parameters).mappings().all()
        return [{name: _plain(name, value) for name, value in row.items()} for row in found]

    def execute(self, *statements: str) -> None:
        """Change the database behind the service's back."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def counts(self) -> dict[str, int]:
        """Return how many rows each table holds."""
        tables = sorted(inspect(self.engine).get_table_names())
        with self.engine.connect() as connection:
            return {table: connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables}

    def forget(self) -> None:
        """Remove every event and what came of it."""
        tables = ("delivery_attempts", "deliveries", "conversation_people", "closures", "events")
        self.execute(*(f"DELETE FROM {table}" for table in tables))

    def until(
        self, check: Callable[[], Found], promise: str, *, seconds: float = WAIT_SECONDS, pause: float = 0.02
    ) -> Found:
        """Return the first true answer of `check`; fails with the end of every log when none comes."""
        ends_at = time.monotonic() + seconds
        while not (found := check()):
            if time.monotonic() > ends_at:
                logs = "\n".join(f"== {one.log.name}\n{one.said()[-2000:]}" for one in self._running)
                raise AssertionError(f"{promise}: not within {seconds:.0f} s\n{logs}")
            time.sleep(pause)
        return found

    @property
    def engine(self) -> Engine:
        """A way to the database that shares nothing with the service."""
        if self._engine is None:
            driver = {"module": sqlite_module()} if make_url(self.database_url).get_backend_name() == "sqlite" else {}
            self._engine = create_engine(self.database_url, poolclass=NullPool, **driver)
        return self._engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for control in self._controls:
            control.close()
        for running in reversed(self._running):
            if running.process.poll() is None:
                running.process.terminate()
        for running in reversed(self._running):
            with suppress(subprocess.TimeoutExpired):
                running.process.wait(STOP_SECONDS)
            if running.process.returncode is None:
                running.kill()
        if self._engine is not None:
            self._engine.dispose()

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        ours = {"PYTHONUNBUFFERED": "1", "DATABASE_URL": self.database_url}
        return inherited | self._search_path | ours | self.environment | given

    def _pretend(self, *arguments: str) -> str:
        running = self.spawn("sandbox", *arguments)
        self.until(lambda: " is ready at " in running.said(), f"the pretend {arguments[0]} is ready")
        running.url = running.said().strip().rpartition(" ")[2]
        return running.url

    def _keep(self, control: Any) -> Any:
        self._controls.append(control)
        return control


def ask(url: str, *, token: str | None = None) -> requests.Response:
    """GET a URL on this machine, whatever proxies the environment names."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, headers=headers, timeout=30)


def _plain(name: str, value: Any) -> Any:
    """Return a column's value without what is peculiar to an engine: SQLite has no instants, truths or JSON."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and (name.endswith("_at") or name in ("awaiting_until", "not_before", "lease_until")):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    if isinstance(value, str) and (name.endswith("_ids") or name in ("facts", "attributes")):
        return json.loads(value)
    return value
