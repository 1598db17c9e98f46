"""What the integration tests share: the command line, and a pretend Genesys Cloud."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.integration.pretend import PretendGenesys, pretend_genesys


@pytest.fixture
def crm_sync(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in an empty folder, on the database of this test where it has one."""
    from crm_sync.cli import main

    for name in ("database_url", "migrated_url"):
        if name in request.fixturenames:
            monkeypatch.setenv("DATABASE_URL", request.getfixturevalue(name))
    monkeypatch.setenv("GENESYS_REGISTRATION", "none")
    monkeypatch.delenv("CRM_SYNC_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, arguments, prog_name="crm-sync")


@pytest.fixture
def genesys() -> Iterator[PretendGenesys]:
    """A pretend Genesys Cloud with its usual manners."""
    with pretend_genesys() as pretend:
        yield pretend
