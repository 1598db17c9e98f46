"""What all tests share: databases on each engine, skips that are spoken, and no network in the unit tests."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import structlog

from tests import databases

UNIT_TESTS = Path(__file__).parent / "unit"


def skip_or_fail(reason: str) -> NoReturn:
    """Skip this test and say why; with CI=true, where everything can be installed, fail instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (with CI=true this is no reason to skip)", pytrace=False)
    pytest.skip(reason)


def program(*names: str) -> str:
    """Return the path of the first of these programs that is installed, for tests that need a node or a Chromium."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    skip_or_fail(f"{names[0]} is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no unit test open a socket, not even to this machine."""
    for item in items:
        if item.path.is_relative_to(UNIT_TESTS):
            item.add_marker(pytest.mark.disable_socket)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Undo what a test does to the logs: they belong to the process, and the next test is in it too."""
    root, structured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)
    structlog.contextvars.clear_contextvars()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once on each engine.

    A test for one engine only says `@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)`.
    """
    if request.param == "sqlite":
        yield databases.sqlite_url(tmp_path)
        return
    with databases.postgresql_database(request.getfixturevalue("postgresql_server")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database whose schema is at head, once on each engine; narrowed as `database_url` is."""
    if request.param == "sqlite":
        yield databases.migrated_sqlite(request.getfixturevalue("_sqlite_template"), tmp_path)
        return
    server = request.getfixturevalue("postgresql_server")
    template = request.getfixturevalue("_postgresql_template")
    with databases.postgresql_database(server, template=template) as url:
        yield url


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    """The URL of an empty database of a MariaDB."""
    try:
        with databases.mariadb_database() as url:
            yield url
    except databases.NotHere as missing:
        skip_or_fail(str(missing))


@pytest.fixture(scope="session")
def postgresql_server(testrun_uid: str) -> Iterator[str]:
    """The URL of a PostgreSQL in which databases can be created."""
    try:
        with databases.postgresql_server(testrun_uid) as url:
            yield url
    except databases.NotHere as missing:
        skip_or_fail(str(missing))


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> str:
    from crm_sync.store import migrate

    url = databases.sqlite_url(tmp_path_factory.mktemp("template"))
    migrate.upgrade(url)
    return url


@pytest.fixture(scope="session")
def _postgresql_template(postgresql_server: str) -> Iterator[str]:
    from crm_sync.store import migrate

    with databases.postgresql_database(postgresql_server) as url:
        migrate.upgrade(url)
        yield url
