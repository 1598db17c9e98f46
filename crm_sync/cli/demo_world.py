"""The world of the demo: a pretend Genesys Cloud, a pretend CRM and crm-sync itself, each a process of its own."""

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import requests

from crm_sync import clock
from crm_sync.errors import SetupError

COMMAND = (sys.executable, "-m", "crm_sync")
CRM, TABLE = "demo-crm", "demo-table"
READY_SECONDS = 30
STOP_SECONDS = 15

SETTINGS = """\
# The settings of this demo: two CRMs, and what the pretend Genesys Cloud's words and codes mean.
[genesys]
# It has no limit of its own. The real one allows 300, which is what crm-sync keeps to unless it is told otherwise.
requests_per_minute = 60000

[resolution.words]
{words}

[resolution.wrapup_codes]
{codes}

[sessions]
human_queue_id = "human-support-queue"
confidence_min = 0.6
sentiment_min = -0.5
max_turns = 10
max_concurrent = {most_at_once}

[targets.{crm}]
adapter = "webhook"
url = "{crm_url}/records"
secrets = ["${{DEMO_CRM_SECRET}}"]
allow_private_addresses = true
concurrency = 4

[targets.{table}]
adapter = "sql"
url = "sqlite:///{table_file}"
table = "conversations"
create_table = true
"""


@dataclass(slots=True, kw_only=True)
class World:
    """Where everything is, once `start` has returned. All of it ends with `stop`."""

    folder: Path
    database_url: str
    genesys_url: str = ""
    crm_url: str = ""
    web_url: str = ""
    token: str = ""
    webhook_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    _processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _logs: list[IO[str]] = field(default_factory=list)

    @property
    def table_file(self) -> Path:
        """The SQLite file that stands for the second CRM."""
        return self.folder / "second-crm.db"

    def start(self, *, words: Mapping[str, str], codes: Mapping[str, str], most_at_once: int) -> None:
        """Start the pretend systems, migrate, then start web and worker; raises SetupError with the log to look at."""
        crm_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        client_secret = secrets.token_urlsafe(24)
        self.genesys_url = self._start_pretend(
            "genesys", "--client-secret", client_secret, "--repeat", "2", "--shuffle"
        )
        self.crm_url = self._start_pretend("crm", "--secret", crm_secret)
        port = _free_port()
        self.web_url = f"http://127.0.0.1:{port}"
        settings_file = self.folder / "crm-sync.toml"
        settings_file.write_text(
            SETTINGS.format(
                words=_listed(words),
                codes=_listed(codes),
                most_at_once=most_at_once,
                crm=CRM,
                crm_url=self.crm_url,
                table=TABLE,
                table_file=self.table_file,
            )
        )
        ours = (
            "GENESYS_",
            "WEBHOOK_",
            "CRM_SYNC_",
            "DATABASE_",
            "PUBLIC_URL",
            "LOG_FORMAT",
            "HOST",
            "PORT",
            "WEB_CONCURRENCY",
        )
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = inherited | {
            "CRM_SYNC_CONFIG": str(settings_file),
            "DATABASE_URL": self.database_url,
            "GENESYS_CLIENT_ID": "sandbox",
            "GENESYS_CLIENT_SECRET": client_secret,
            "GENESYS_API_URL": self.genesys_url,
            "PUBLIC_URL": self.web_url,
            "WEBHOOK_SECRETS": self.webhook_secret,
            "PORT": str(port),
            "DEMO_CRM_SECRET": crm_secret,
        }
        self.run("db", "upgrade")
        self.token = self.run("token", "create", "demo", "--role", "operator").strip()
        self._spawn("web", [*COMMAND, "web"])
        self._spawn("worker", [*COMMAND, "worker"])
        self._wait_until_registered()

    def run(self, *arguments: str, **environment: str) -> str:
        """Run a command of ours and return what it printed; raises SetupError when it fails."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SetupError(f"crm-sync {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout

    def failed(self) -> str | None:
        """Return a sentence about a process that has ended by itself, None while all run."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                return f"The {name} process has ended by itself; its last line was: {self._last_line(name)}"
        return None

    def stop(self) -> None:
        """End every process, the youngest first."""
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()

    def _start_pretend(self, name: str, *options: str) -> str:
        """Start a pretend system on a free port and return its address, which it prints when it is ready."""
        self._spawn(name, [*COMMAND, "sandbox", name, "--port", "0", *options], environment=dict(os.environ))
        until = clock.monotonic() + READY_SECONDS
        while " is ready at " not in (line := self._last_line(name)):
            self._check(name, until)
        return line.rpartition(" ")[2].strip()

    def _wait_until_registered(self) -> None:
        until = clock.monotonic() + READY_SECONDS
        while True:
            try:
                ready = direct().get(f"{self.web_url}/readyz", timeout=5)
                if ready.ok and ready.json()["registration"]["state"] == "registered":
                    return
            except requests.RequestException:
                pass
            self._check("web", until)

    def _check(self, name: str, until: float) -> None:
        if (failed := self.failed()) is not None:
            raise SetupError(failed)
        if clock.monotonic() > until:
            raise SetupError(f"The {name} process is not ready after {READY_SECONDS} s: {self._last_line(name)}")
        time.sleep(0.05)

    def _spawn(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        log = (self.folder / f"{name}.log").open("w")
        self._logs.append(log)
        environment = environment or self.environment
        self._processes[name] = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # A Ctrl-C or a closed terminal is for us alone: we end them in their order.
        )

    def _last_line(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text().strip().splitlines()
        return lines[-1] if lines else ""


def _listed(meanings: Mapping[str, str]) -> str:
    return "\n".join(f"{json.dumps(theirs)} = {json.dumps(ours)}" for theirs, ours in meanings.items())


def direct() -> requests.Session:
    """Return a session that goes to this machine directly, whatever proxy the environment names."""
    session = requests.Session()
    session.trust_env = False
    return session


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
