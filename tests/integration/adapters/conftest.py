"""An empty database on each engine that the `sql` adapter knows, and adapters for it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crm_sync.adapters import mapping
from crm_sync.adapters.sql import SQLAdapter, engines
from crm_sync.settings_targets import FieldRule
from tests import databases
from tests.integration.adapters.tables import CUSTOMERS_OWN, OWN, Build, run


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def customer_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a customer's empty database, once on each engine."""
    match request.param:
        case "sqlite":
            yield databases.sqlite_url(tmp_path)
        case "postgresql":
            with databases.postgresql_database(request.getfixturevalue("postgresql_server")) as url:
                yield url
        case _:
            yield request.getfixturevalue("mariadb_url")


@pytest.fixture
def engine(customer_url: str) -> Iterator[sa.Engine]:
    """The customer's own way in.

    With the SQLite library of the adapter: two libraries in one process do not see each other's locks.
    """
    more = {"module": engines.sqlite_module()} if customer_url.startswith("sqlite") else {}
    engine = sa.create_engine(customer_url, **more)
    yield engine
    engine.dispose()


@pytest.fixture
def build(customer_url: str) -> Iterator[Build]:
    with ExitStack() as stack:

        def make(*, rules: dict[str, FieldRule] | None = None, deadline: float = 20, **options: Any) -> SQLAdapter:
            given = {"url": customer_url, "table": "closures", **options}
            described = mapping.describe(rules or {})
            adapter = SQLAdapter.from_options(given, fields=described, worker_deadline_seconds=deadline)
            stack.callback(adapter.close)
            return adapter

        yield make


@pytest.fixture
def calls(engine: sa.Engine, build: Build) -> SQLAdapter:
    """An adapter for a table that the customer has made."""
    run(engine, CUSTOMERS_OWN)
    return build(**OWN)
