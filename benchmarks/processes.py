"""The processes of one benchmark, in a folder of their own, told only by settings; all end with it."""

import http.client
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.results import Wrong

PROJECT = Path(__file__).parents[1]
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
WAIT_SECONDS = 60.0
STOP_SECONDS = 40.0


class Processes:
    """Starts Python modules with this environment, and with nothing of our own settings."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
            "PYTHONPATH": str(PROJECT),
            "GENESYS_REGISTRATION": "none",
            **environment,
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def configure(self, settings: str) -> None:
        """Write the settings file of those that are started from now on."""
        (self._folder / "crm-sync.toml").write_text(settings)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `python -m` with these arguments."""
        with (self._folder / f"{len(self._running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self._folder,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def listen(self, *arguments: str) -> str:
        """Start a server, wait until it answers, and return its address."""
        port = free_port()
        process = self.start(*arguments, PORT=str(port))
        until(lambda: process.poll() is not None or _answers(port), "a server answers")
        if process.poll() is not None:
            raise Wrong(f"{arguments[0]} has ended by itself: {self._last_words(process)}")
        return f"http://127.0.0.1:{port}"

    def check(self) -> None:
        """Raise `Wrong` when one of them has ended by itself."""
        for process in self._running:
            if process.poll() is not None:
                raise Wrong(f"A process has ended by itself: {self._last_words(process)}")

    def stop(self) -> None:
        """Ask all to end, and wait until they have."""
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait(STOP_SECONDS)
        self._running.clear()

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        lines = (self._folder / f"{self._running.index(process)}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            for process in self._running:
                process.kill()


def free_port() -> int:
    """Return a port below those that outgoing connections take, so that none of them takes it before the server."""
    while True:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until(holds: Callable[[], bool], what: str, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until it holds; raises `Wrong` when it does not in time."""
    ends_at = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends_at:
            raise Wrong(f"Waited {seconds:.0f} s in vain until {what}.")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return bool(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
