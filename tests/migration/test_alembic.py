"""Alembic's own command works in a checkout as it is, and from any folder with the file that we name."""

import subprocess
import sys
from pathlib import Path

from crm_sync.store import migrate
from crm_sync.store.engine import Database
from tests.migration.checkout import CHECKOUT, environment

# The script, since `python -m` would put the folder on the path by itself.
ALEMBIC = [str(Path(sys.executable).with_name("alembic"))]


def run(command: list[str], url: str, folder: Path, **extra: str) -> str:
    """Run a command in this folder and return what it wrote; it must succeed."""
    done = subprocess.run(
        command, cwd=folder, env=environment(url) | extra, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_current(url: str) -> bool:
    """Whether the database is at head."""
    database = Database(url)
    try:
        return migrate.state(database).missing == ()
    finally:
        database.close()


def test_alembic_works_in_a_checkout(database_url: str) -> None:
    run([*ALEMBIC, "upgrade", "head"], database_url, CHECKOUT)

    assert is_current(database_url)
    assert "No new upgrade operations" in run([*ALEMBIC, "check"], database_url, CHECKOUT)

    run([*ALEMBIC, "downgrade", "base"], database_url, CHECKOUT)
    assert not is_current(database_url)


def test_alembic_works_anywhere_with_the_file_that_we_name(database_url: str, tmp_path: Path) -> None:
    # As an installed package would be found.
    found = {"PYTHONPATH": str(CHECKOUT)}
    config = run([sys.executable, "-m", "crm_sync", "db", "config"], database_url, tmp_path, **found).strip()

    run([*ALEMBIC, "-c", config, "upgrade", "head"], database_url, tmp_path, **found)

    assert is_current(database_url)
