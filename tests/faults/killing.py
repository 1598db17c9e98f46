"""Kills the deployed processes and starts them again at once, and writes down who held what."""

import os
import random
import re
import signal
import time
from contextlib import suppress

import requests

from crm_sync.sandbox.client import CRMControl
from tests.acceptance.harness import Running, World, ask, free_port
from tests.faults.history import History
from tests.faults.watching import held

WORKERS = 2
SPARED_FROM = 2


class Workers:
    """The worker processes of a run, of which one at a time is killed, so that the others take over what it held."""

    def __init__(self, world: World, history: History, crm: CRMControl, *, latency_seconds: float) -> None:
        self._world = world
        self._history = history
        self._crm = crm
        self._latency_seconds = latency_seconds
        self._running = [world.spawn("worker") for _ in range(WORKERS)]

    def kill_one(self, dice: random.Random) -> None:
        """Kill one of them at a moment soon after it was seen pushing, when all of them are at work."""
        place = dice.randrange(len(self._running))
        victim = self._running[place]
        self._world.until(lambda: all(map(_worker_id, self._running)), "all workers have started")
        worker = _worker_id(victim)
        # Looked at again after the pause, in which it may have gone on to another delivery.
        self._world.until(lambda: self._pushes(worker, dice) and not self._holds_a_spared_one(worker), "it pushes")
        at = time.time()
        victim.kill()
        lost = held(self._world, worker)
        self._running[place] = self._world.spawn("worker")
        self._history.note("killed", at=at, process="worker", worker=worker, held=lost)

    def _pushes(self, worker: str, dice: random.Random) -> bool:
        """Whether it was pushing; returns at some moment of that push."""
        if not held(self._world, worker) or not self._crm.pushes_under_way():
            return False
        time.sleep(dice.uniform(0, self._latency_seconds))
        return True

    def _holds_a_spared_one(self, worker: str) -> bool:
        """Whether it has a delivery in its hands with which workers were killed twice already.

        What has lost its worker four times is taken for the cause, and rightly given up.
        """
        return any(delivery["lost_leases"] >= SPARED_FROM for delivery in held(self._world, worker))


class Web:
    """gunicorn, at one address all the time."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self._port = free_port()
        self._running = world.web(port=self._port)
        self.url = self._running.url

    def kill(self, dice: random.Random) -> None:
        """Kill all of gunicorn, its master alone, or one of its worker processes; return when the web answers again."""
        what = dice.choice(("all", "master", "worker"))
        boots = self._boots() if what == "worker" else 0
        at = time.time()
        if what == "all":
            self._running.kill()
        elif what == "master":
            os.kill(self._running.process.pid, signal.SIGKILL)
            self._running.wait()
        else:
            os.kill(dice.choice(sorted(self._world.children(self._running))), signal.SIGKILL)
        self._history.note("killed", at=at, process=f"gunicorn: {what}", worker=None, held=[])
        self._world.until(lambda: self._is_back(boots), "gunicorn is back")

    def _is_back(self, boots: int) -> bool:
        """Whether another of its processes has booted and the web answers; a gunicorn that has ended starts again."""
        if self._running.process.poll() is not None:
            # Where its master alone was killed, the others keep the port for a moment, and it may end by itself.
            self._running = self._world.web(port=self._port, wait=False)
        if self._boots() <= boots:
            return False
        with suppress(requests.RequestException):
            return ask(f"{self.url}/healthz").ok
        return False

    def _boots(self) -> int:
        return self._running.said().count("Booting worker with pid")


def _worker_id(worker: Running) -> str:
    """Return the id that a worker gives itself, or nothing as long as it has not started."""
    found = re.search(r" worker_started .*\bworker=([0-9a-f]{8})\b", worker.said())
    return found[1] if found else ""
