"""Worlds for the tests: one for each engine, or one on each engine at once; and one web process shared by a file."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance.harness import World, webhook_target
from tests.acceptance.sender import Sender

NOBODY = "http://127.0.0.1:9"
"""Where nothing listens: a CRM that is owed and never told."""


@pytest.fixture
def world(tmp_path: Path, migrated_url: str) -> Iterator[World]:
    """A world with no process yet, once on each engine."""
    with World(tmp_path, migrated_url) as world:
        yield world


@pytest.fixture
def worlds(
    tmp_path: Path, _sqlite_template: str, postgresql_server: str, _postgresql_template: str
) -> Iterator[tuple[World, World]]:
    """One world on each engine, for what must be equal on both."""
    folders = [tmp_path / name for name in ("sqlite", "postgresql")]
    for folder in folders:
        folder.mkdir()
    with databases.postgresql_database(postgresql_server, template=_postgresql_template) as url:
        on_sqlite = World(folders[0], databases.migrated_sqlite(_sqlite_template, folders[0]))
        with on_sqlite, World(folders[1], url) as on_postgresql:
            yield on_sqlite, on_postgresql


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a web process and a target that is never pushed to, shared by the tests of a file."""
    folder = tmp_path_factory.mktemp("shared")
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = databases.migrated_sqlite(request.getfixturevalue("_sqlite_template"), folder)
        else:
            server = request.getfixturevalue("postgresql_server")
            template = request.getfixturevalue("_postgresql_template")
            url = stack.enter_context(databases.postgresql_database(server, template=template))
        world = stack.enter_context(World(folder, url))
        world.settings = webhook_target(NOBODY)
        world.web()
        yield world


@pytest.fixture
def sender(shared: World) -> Iterator[Sender]:
    """A sender to the shared web process, which has received nothing yet."""
    shared.forget()
    with Sender(shared.web_url) as sender:
        yield sender
