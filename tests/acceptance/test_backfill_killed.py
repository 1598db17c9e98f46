"""A backfill that is killed again and again ends complete: no page lost, at most one asked for again for each kill.

With CRM_SYNC_FAULTS_LONG=1 there are 50,000 conversations and 20 kills instead of 2,000 and 2.
"""

import random
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.sandbox.client import GenesysControl
from crm_sync.sandbox.platform_world import WRAPUP_WORDS
from tests.acceptance.harness import IS_LONG, Running, World

CONVERSATIONS, KILLS, AT_ONCE = (50_000, 20, 5_000) if IS_LONG else (2_000, 2, 2_000)
PAGE = 1_000 if IS_LONG else 100
JOBS = "/api/v2/analytics/conversations/details/jobs"
UNTIL = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
SINCE = UNTIL - timedelta(days=20)
MOST_GROWTH_MB = 40.0


@pytest.mark.timeout(1_800 if IS_LONG else 180)
def test_a_backfill_that_is_killed_in_mid_work_ends_complete_and_wastes_no_requests(world: World) -> None:
    genesys = world.genesys()
    play(genesys)
    world.settings = settings(genesys.url)
    chance = random.Random(7)
    kills = 0
    while kills < KILLS:
        running = start(world)
        before = pages(world)
        world.until(lambda running=running, before=before: pages(world) > before or ended(running), "a page is kept")
        time.sleep(chance.uniform(0, 0.5))
        assert not ended(running), f"it ended after {kills} kills: {running.said()}"
        running.signal(signal.SIGKILL)
        running.wait()
        kills += 1
    last = start(world)
    sizes: list[float] = []
    while not ended(last):
        sizes.append(rss_mb(last))
        time.sleep(0.1)

    assert last.wait() == 0, last.said()
    (run,) = world.rows("SELECT * FROM reconciliations")
    assert (run["state"], run["conversations"], run["missed"]) == ("done", CONVERSATIONS, CONVERSATIONS)
    assert right(world) == truth(genesys)
    asked = sum(one["count"] for one in genesys.traffic() if one["path"].endswith("/results"))
    needed = -(-CONVERSATIONS // PAGE)
    print(f"{kills} kills, {asked} pages asked for where {needed} were needed; {growth(sizes):.1f} MB grown at last")
    assert needed <= asked <= needed + kills
    assert sum(one["count"] for one in genesys.traffic() if (one["method"], one["path"]) == ("POST", JOBS)) == 1
    assert growth(sizes) < MOST_GROWTH_MB


def play(genesys: GenesysControl) -> None:
    """Let the conversations happen, of whose events nobody is told."""
    for seed in range(CONVERSATIONS // AT_ONCE):
        genesys.play(count=AT_ONCE, seed=seed, since=SINCE.isoformat(), until=UNTIL.isoformat(), tell=False)


def settings(api_url: str) -> str:
    """Return settings of the platform, with what its wrap-up codes mean."""
    codes = "".join(f'"{code}" = "{word}"\n' for code, word in WRAPUP_WORDS.items())
    return f"""
[genesys]
client_id = "sandbox"
client_secret = "sandbox-secret"
api_url = "{api_url}"
requests_per_minute = 60000

[reconcile]
job_page_size = {PAGE}

[resolution.wrapup_codes]
{codes}"""


def start(world: World) -> Running:
    """Begin the backfill, or go on with it."""
    return world.spawn("backfill", "--since", SINCE.isoformat(), "--until", (UNTIL + timedelta(minutes=30)).isoformat())


def ended(running: Running) -> bool:
    """Tell whether a process has ended."""
    return running.process.poll() is not None


def pages(world: World) -> int:
    """Return how many pages have been kept."""
    return sum(row["pages"] for row in world.rows("SELECT pages FROM reconciliations"))


def right(world: World) -> dict[str, tuple[int, str]]:
    """Return what our closures say."""
    rows = world.rows("SELECT conversation_id, closed, resolution FROM closures")
    return {row["conversation_id"]: (row["closed"], row["resolution"]) for row in rows}


def truth(genesys: GenesysControl) -> dict[str, tuple[int, str]]:
    """Return what is true."""
    return {one["id"]: (1, one["resolution"]) for one in genesys.platform_conversations()}


def rss_mb(running: Running) -> float:
    """Return the memory of a process, 0 for one that has just ended."""
    listed = subprocess.run(["ps", "-o", "rss=", "-p", str(running.process.pid)], capture_output=True, text=True)
    return float(listed.stdout or 0) / 1e3


def growth(sizes: list[float]) -> float:
    """Return by how much memory has grown after the first third of the time, when all has been loaded."""
    alive = [size for size in sizes if size]
    return max(alive) - alive[len(alive) // 3] if alive else 0.0
