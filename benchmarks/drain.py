"""Drain: closures owed beforehand, pushed by a worker as deployed to a CRM that takes 20 ms for each.

The ceiling is what the CRM allows: pushes at the same time, over 20 ms. Eight at the same time make 400 in a second.
Two cores, which the worker shares with the database and the CRM, can do that; and a worker that leaves a lane waiting,
or spends more than 2.5 ms of a core on a push, cannot hide it.
"""

import http.client
import json
import os
import secrets
import subprocess
import tempfile
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text

from benchmarks import owing, slow_crm
from benchmarks.engines import Engine
from benchmarks.processes import Processes, until
from benchmarks.results import Measured, Wrong
from crm_sync.store.engine import Database

REPEATS = 3
CLOSURES = 3000
AT_ONCE = 8
CEILING = AT_ONCE / slow_crm.SECONDS
TARGET = "slow"


def measure(engines: Sequence[Engine]) -> list[Measured]:
    """Return the rate on each engine; raises `Wrong` unless each closure arrived exactly once."""
    found: dict[str, list[tuple[float, float]]] = {engine.name: [] for engine in engines}
    for _ in range(REPEATS):
        for engine in engines:
            found[engine.name].append(_drain(engine))
    return [
        Measured(
            what=f"drain, {AT_ONCE} at once through {slow_crm.SECONDS * 1000:.0f} ms / ceiling",
            engine=name,
            ours=[rate for rate, _ in drained],
            yardsticks=[CEILING] * len(drained),
            beside={"worker's CPU ms a push": median(cpu_ms for _, cpu_ms in drained)},
        )
        for name, drained in found.items()
    ]


def verify(engine: str, pushes: Mapping[str, Any], delivered: Set[str]) -> None:
    """Raise `Wrong` unless each closure is delivered and arrived once, and no more came at a time than may."""
    # A push key is conversation, version and hash.
    arrived = Counter({key.rpartition(".")[0]: count for key, count in pushes["counts"].items()})
    if len(delivered) != CLOSURES or arrived != Counter(delivered):
        repeated = sum(count > 1 for count in arrived.values())
        raise Wrong(
            f"{engine}: of {CLOSURES} closures {len(delivered)} are delivered; {len(arrived)} arrived at the CRM,"
            f" {repeated} of them more than once."
        )
    if pushes["most_at_once"] > AT_ONCE:
        raise Wrong(f"{engine}: {pushes['most_at_once']} pushes came at the same time, where {AT_ONCE} may.")


def _drain(engine: Engine) -> tuple[float, float]:
    """Drain a new database; return the pushes in a second, and the worker's CPU milliseconds for each."""
    with engine.new_database() as url, tempfile.TemporaryDirectory() as theirs, tempfile.TemporaryDirectory() as ours:
        _owe(url)
        with Processes(Path(theirs)) as others, Processes(Path(ours), DATABASE_URL=url) as processes:
            crm = others.listen("benchmarks.slow_crm")
            processes.configure(_settings(crm))
            worker = processes.start("crm_sync", "worker")

            def has_taken(count: int) -> bool:
                processes.check()
                return int(_ask(crm, "/")["taken"]) >= count

            until(lambda: has_taken(1), "the CRM has taken a push")
            cpu_before, taken_before = _cpu_seconds(worker), _ask(crm, "/")["taken"]
            until(lambda: has_taken(CLOSURES), "the CRM has taken all pushes", seconds=300)
            cpu_ms = 1000 * (_cpu_seconds(worker) - cpu_before) / (CLOSURES - taken_before)
            processes.stop()
            pushes = _ask(crm, "/pushes")
        verify(engine.name, pushes, _delivered(url))
    return CLOSURES / pushes["seconds"], cpu_ms


def _owe(database_url: str) -> None:
    database = Database(database_url)
    try:
        owing.owe(database, TARGET, CLOSURES)
    finally:
        database.close()


def _settings(crm: str) -> str:
    return f"""
[targets.{TARGET}]
adapter = "webhook"
url = "{crm}/records"
secrets = ["whsec_{b64encode(secrets.token_bytes(32)).decode()}"]
allow_private_addresses = true
concurrency = {AT_ONCE}
"""


def _ask(crm: str, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(crm).netloc, timeout=10)
    try:
        connection.request("GET", path)
        told: dict[str, Any] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU time that a process has used; not a number where the system does not tell."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _delivered(database_url: str) -> set[str]:
    """Return each conversation and the version of it that counts as delivered, joined as in a push key."""
    database = Database(database_url)
    try:
        with database.read() as connection:
            rows = connection.execute(
                text("SELECT conversation_id, delivered_version FROM deliveries"
                     " WHERE state = 'delivered' AND delivered_version = desired_version")
            )  # fmt: skip
            return {f"{conversation_id}.{version}" for conversation_id, version in rows}
    finally:
        database.close()
