"""The wheel, installed with the pins of requirements.txt in an empty environment: everything that it needs is in it."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.acceptance.harness import PROJECT, World
from tests.acceptance.sender import Sender, event
from tests.conftest import skip_or_fail

TARGET = '[targets.file]\nadapter = "jsonl"\npath = "{path}"\n'


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a program that must succeed and return what it printed."""
    # The checkout must not be found by accident.
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=known | environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def install(python: Path, *arguments: str | Path, folder: Path) -> None:
    """Install with pip; where no package index can be reached the test cannot be run."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
    done = subprocess.run(pip, cwd=folder, capture_output=True, text=True, timeout=280)
    if "No matching distribution" in done.stderr or "Could not fetch URL" in done.stderr:
        skip_or_fail(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_installed_wheel_migrates_receives_and_delivers_far_from_the_checkout(
    tmp_path: Path, database_url: str
) -> None:
    built, elsewhere = tmp_path / "built", tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", built, PROJECT]
    run(*wheel, folder=tmp_path)
    (made,) = built.glob("crm_sync-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    install(programs / "python", "--require-hashes", "-r", PROJECT / "requirements.txt", folder=elsewhere)
    install(programs / "python", "--no-deps", made, folder=elsewhere)

    with World(elsewhere, database_url, program=programs / "crm-sync") as world:
        world.settings = TARGET.format(path=elsewhere / "closures.jsonl")
        ini = world.crm_sync("db", "config").stdout.strip()
        migrated = world.crm_sync("db", "upgrade")
        current = run(programs / "alembic", "-c", ini, "current", folder=elsewhere, DATABASE_URL=database_url)
        help_text = world.crm_sync("--help")
        version = world.crm_sync("--version")
        with Sender(world.web().url) as sender:
            world.worker()
            sender.status(event("customer.end"))
        world.until(lambda: world.rows("SELECT state FROM deliveries") == [{"state": "delivered"}], "it is delivered")

    assert Path(ini).is_relative_to(tmp_path / "venv")
    assert migrated.returncode == 0, migrated.stderr
    assert current.strip().endswith("(head)")
    assert help_text.returncode == 0
    assert version.stdout.startswith("crm-sync ")
    (line,) = (elsewhere / "closures.jsonl").read_text().splitlines()
    assert json.loads(line)["conversation_id"] == event("customer.end")["conversationId"]
