"""wrk, the load generator: a compiled one, for a Python one would take the cores that it measures."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Wrong

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("ingest.lua")
MISSING = (
    "wrk, the load generator, is not installed: install the package wrk (apt-get install wrk, brew install wrk),"
    " or put a wrk of your own on the PATH."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk counted: answers of any status, those of them that refused, and connections that broke."""

    answers: int
    refused: int
    broken: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answers in a second."""
        return self.answers / self.seconds


def find() -> str:
    """Return the path of wrk; installs it where that is ours to do, else raises `Wrong`."""
    if not shutil.which("wrk") and shutil.which("apt-get") and os.geteuid() == 0:
        print("Installing wrk, the load generator.", flush=True)
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "wrk"]):
            subprocess.run(
                ["apt-get", *arguments],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                check=False,
            )
    path = shutil.which("wrk")
    if path is None:
        raise Wrong(MISSING)
    return path


def post(path: str, address: str, *, secret: str, run: int, seconds: int) -> Load:
    """Post distinct signed events to this address for so long; raises `Wrong` unless every one was accepted."""
    command = [path, "-t", "1", "-c", str(CONNECTIONS), "-d", str(seconds), "--timeout", "10", "-s", str(SCRIPT)]
    ended = subprocess.run([*command, address, "--", secret, str(run)], capture_output=True, text=True, check=False)
    load = parse(ended.stdout)
    if load is None:
        raise Wrong(f"wrk gave no figures: {(ended.stderr or ended.stdout).strip()[-300:]}")
    if load.refused or load.broken or not load.answers:
        raise Wrong(
            f"{load.refused} of {load.answers} events were refused and {load.broken} connections broke, where none may."
        )
    return load


def parse(output: str) -> Load | None:
    """Return the figures that the script writes as the last line, None when there are none."""
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return None
    return Load(**json.loads(lines[-1]))
