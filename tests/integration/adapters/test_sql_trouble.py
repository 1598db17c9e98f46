"""The `sql` adapter on databases that are not well, and with settings that are not right."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crm_sync.adapters.contract import Outcome
from crm_sync.adapters.sql import SQLAdapter
from crm_sync.errors import Kind, SettingsError
from tests.integration.adapters.tables import CUSTOMERS_OWN, OWN, Build, fault, outcome, run


@pytest.mark.parametrize("customer_url", ["postgresql", "mariadb"], indirect=True)
def test_a_lock_that_is_not_released_is_tried_again(
    engine: sa.Engine, calls: SQLAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(calls, 1, owner="x")
    shorten = "SET lock_timeout = 50" if is_not_mysql(engine) else "SET innodb_lock_wait_timeout = 1"
    sa.event.listen(calls._engine, "before_cursor_execute", lambda *a: shortened(a[1], a[2], shorten))

    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE calls SET owner = 'somebody' WHERE id = 'c-1'"))
        found = fault(calls, version=2, owner="y")

    assert found.kind is Kind.RETRYABLE
    assert outcome(calls, 2, owner="y") is Outcome.UPDATED


@pytest.mark.parametrize("customer_url", ["postgresql", "mariadb"], indirect=True)
def test_nobody_listening_and_a_wrong_user_are_told_apart(customer_url: str, build: Build) -> None:
    url = sa.make_url(customer_url)
    closed = url.set(host="127.0.0.1", port=1).render_as_string(hide_password=False)
    stranger = url.set(username="crm_sync_stranger", password="hunter2").render_as_string(hide_password=False)
    nowhere = url.set(database="crm_sync_no_such_database").render_as_string(hide_password=False)

    assert fault(build(url=closed)).kind is Kind.RETRYABLE
    assert fault(build(url=stranger)).kind is Kind.AUTH
    assert fault(build(url=nowhere)).kind is Kind.CONFIG
    [finding] = build(url=stranger).check()
    assert finding.is_fatal
    assert "hunter2" not in repr(finding)


@pytest.mark.parametrize("customer_url", ["sqlite"], indirect=True)
def test_a_locked_file_is_tried_again_and_a_missing_folder_is_not(
    engine: sa.Engine, build: Build, tmp_path: Path
) -> None:
    run(engine, CUSTOMERS_OWN)
    hurried = build(**OWN, deadline=0.1)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        assert fault(hurried, owner="x").kind is Kind.RETRYABLE
        connection.rollback()

    assert fault(build(url=f"sqlite:///{tmp_path}/nowhere/crm.db")).kind is Kind.CONFIG


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "url is not a database URL"),
        ("sqlite://", "url names no database"),
        ("sqlite:///:memory:", "url names no database"),
        ("oracle://u:hunter2@h/d", "url is for a database that this adapter does not know"),
        ("postgresql+asyncpg://u:hunter2@h/d", "url is for a database that this adapter does not know"),
    ],
)
def test_a_wrong_url_is_told_in_words(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SQLAdapter.from_options({"url": url, "table": "t"}, fields=(), worker_deadline_seconds=20)

    [told] = caught.value.faults
    assert told.startswith(said)
    assert "hunter2" not in told


def is_not_mysql(engine: sa.Engine) -> bool:
    return engine.dialect.name != "mysql"


def shortened(cursor: Any, statement: str, setting: str) -> None:
    """Have the upsert, and nothing before it, wait for a lock for a moment only."""
    if statement.startswith("INSERT"):
        cursor.execute(setting)
