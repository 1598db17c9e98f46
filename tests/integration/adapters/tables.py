"""A table that a customer has made, and short words for what the tests of the `sql` adapter do with it."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from crm_sync.adapters.contract import Outcome
from crm_sync.adapters.sql import SQLAdapter
from crm_sync.closure import JSON
from crm_sync.errors import Fault
from crm_sync.testing.core import make_push, push_once, settle

Build = Callable[..., SQLAdapter]

CUSTOMERS_OWN = """
CREATE TABLE calls (
    id VARCHAR(64) NOT NULL UNIQUE,
    state_no BIGINT,
    closed BOOLEAN,
    ended TIMESTAMP NULL,
    ended_on DATE,
    seconds INTEGER,
    price NUMERIC(10, 2),
    subject VARCHAR(20),
    owner VARCHAR(20) NOT NULL
)
"""
OWN: dict[str, Any] = {"table": "calls", "key_column": "id", "version_column": "state_no"}


def run(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def rows(engine: sa.Engine, table: str = "calls") -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]


def outcome(adapter: SQLAdapter, version: int, **fields: JSON) -> Outcome:
    [receipt] = settle(adapter, [make_push("c-1", version, fields)])
    assert receipt.fault is None, receipt.fault
    return receipt.outcome


def fault(adapter: SQLAdapter, version: int = 1, **fields: JSON) -> Fault:
    [receipt] = push_once(adapter, [adapter.prepare(make_push("c-1", version, fields))])
    assert receipt.fault is not None
    return receipt.fault
