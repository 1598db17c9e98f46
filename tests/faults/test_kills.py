"""kill -9 of workers in the middle of a push, and of gunicorn under load: nothing is lost, doubled or owed for ever.

Judged by the history of the run alone. `CRM_SYNC_FAULT_KILLS=200,50` says how many workers and how many times gunicorn
are killed, `CRM_SYNC_FAULT_SEED` which load and which victims.
"""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.harness import World, webhook_target
from tests.faults import history
from tests.faults.checker import check
from tests.faults.history import History
from tests.faults.killing import Web, Workers
from tests.faults.load import Load, Senders
from tests.faults.report import repeats, shown, summary
from tests.faults.watching import Sampler, note_the_end

WORKER_KILLS, WEB_KILLS = map(int, os.environ.get("CRM_SYNC_FAULT_KILLS", "12,4").split(","))
LEASE_SECONDS, PUSH_DEADLINE_SECONDS = 2, 1
LATENCY_SECONDS = 0.08
PACE = 40.0
POST_SECONDS = 0.005
SETTINGS = f"[worker]\nlease_seconds = {LEASE_SECONDS}\npush_deadline_seconds = {PUSH_DEADLINE_SECONDS}\n"
BETWEEN_WEB_KILLS = range(20, 80)


@pytest.fixture
def seed() -> int:
    """What decides the load and the victims."""
    given = os.environ.get("CRM_SYNC_FAULT_SEED")
    return int(given) if given else random.randrange(2**32)


@pytest.mark.timeout(120 + 10 * WORKER_KILLS + 20 * WEB_KILLS)
def test_whatever_is_killed_nothing_is_lost_and_every_debt_is_paid_once(
    world: World, tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "history.jsonl"
    print(f"seed {seed}, history {path}")  # Shown by pytest when this fails.
    with History(path) as written:
        written.note(
            "run",
            seed=seed,
            engine=world.engine.dialect.name,
            lease_seconds=LEASE_SECONDS,
            push_deadline_seconds=PUSH_DEADLINE_SECONDS,
            patience_seconds=0,
        )
        run(world, written, seed)
    violations = check(path)
    lines = list(history.read(path))
    print(summary(lines))

    assert violations == [], shown(path, violations)
    assert not [line for line in lines if line["line"] == "delivery" and line["state"] == "dead"]
    assert {line["status"] for line in lines if line["line"] == "acked"} == {"accepted", "duplicate"}
    # Or else nothing was proved: the kills must have hit pushes, of which some had to be made again.
    kills = [line for line in lines if line["line"] == "killed"]
    assert sum(bool(kill["held"]) for kill in kills) > WORKER_KILLS / 2
    assert repeats(lines) > 0


def run(world: World, written: History, seed: int) -> None:
    """Let a load go through the service while its processes are killed, until all is paid."""
    crm = world.crm()
    crm.behave(latency_seconds=LATENCY_SECONDS)
    world.settings = SETTINGS + webhook_target(crm.url, concurrency=4)
    web = Web(world, written)
    workers = Workers(world, written, crm, latency_seconds=LATENCY_SECONDS)
    senders = Senders(Load(seed), written, web.url, seed=seed, pace=PACE)

    def kill_workers() -> None:
        dice = random.Random(f"{seed} workers")
        for _ in range(WORKER_KILLS):
            workers.kill_one(dice)

    def kill_web() -> None:
        dice = random.Random(f"{seed} web")
        for _ in range(WEB_KILLS):
            enough = senders.acked + dice.choice(BETWEEN_WEB_KILLS)
            world.until(lambda enough=enough: senders.acked > enough, "there is a load")
            senders.wait_for_a_post()
            time.sleep(dice.uniform(0, POST_SECONDS))
            web.kill(dice)

    with Sampler(world, written), senders:
        with ThreadPoolExecutor(2) as killers:
            for killing in [killers.submit(kill_workers), killers.submit(kill_web)]:
                killing.result()
        senders.send_the_rest()
        with suppress(AssertionError):  # The checker will say what is owed for ever.
            world.until(lambda: not world.rows("SELECT id FROM deliveries WHERE state = 'pending'"), "all is settled")
        world.until(lambda: not crm.pushes_under_way(), "the CRM is at rest")
    note_the_end(world, written, {"crm": crm})
