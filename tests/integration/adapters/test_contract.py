"""Every adapter keeps the contract, over the real thing: files, a receiver on a port, and three databases."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crm_sync.adapters import mapping
from crm_sync.adapters.jsonl import JSONLAdapter
from crm_sync.adapters.sql import SQLAdapter
from crm_sync.adapters.webhook import WebhookAdapter
from crm_sync.testing.contract import AdapterContract, Held, ReadBack, Refused
from crm_sync.testing.http_contract import HTTPContract
from crm_sync.testing.server import Answer, PretendServer
from tests.integration.adapters.receiver import Receiver

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


class TestJSONL(AdapterContract):
    """A file, read as its reader would: the highest version of each conversation."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "closures.jsonl"

    @pytest.fixture
    def adapter(self, path: Path) -> JSONLAdapter:
        return JSONLAdapter.from_options({"path": str(path)}, fields=(), worker_deadline_seconds=20)

    @pytest.fixture
    def read_back(self, path: Path) -> ReadBack:
        def read(conversation_id: str | None = None) -> list[Held]:
            highest: dict[str, dict[str, Any]] = {}
            for line in path.read_text().split("\n")[:-1] if path.exists() else []:
                record = json.loads(line)
                held = highest.setdefault(record["conversation_id"], record)
                if record["version"] >= held["version"]:
                    highest[record["conversation_id"]] = record
            return [
                Held(conversation_id=key, version=record["version"], fields=record["fields"])
                for key, record in highest.items()
                if conversation_id in (None, key)
            ]

        return read


class TestWebhook(HTTPContract):
    """A receiver that verifies with the reference library."""

    @pytest.fixture
    def receiver(self) -> Receiver:
        return Receiver(SECRET)

    @pytest.fixture
    def server(self, receiver: Receiver) -> Iterator[PretendServer]:
        with PretendServer(receiver.respond) as server:
            yield server

    @pytest.fixture
    def adapter(self, server: PretendServer) -> Iterator[WebhookAdapter]:
        options = {"url": f"{server.url}/hook/in-the-path", "secrets": SECRET, "allow_private_addresses": True}
        with closing(WebhookAdapter.from_options(options, fields=(), worker_deadline_seconds=1)) as adapter:
            yield adapter

    @pytest.fixture
    def read_back(self, receiver: Receiver) -> ReadBack:
        return receiver.read_back

    @pytest.fixture
    def refused(self) -> Refused:
        return Refused(fields={"wrapup_notes": "refuse me"}, field="wrapup_notes")

    @pytest.fixture
    def lose_answer(self, server: PretendServer) -> Callable[[], None]:
        return lambda: server.script.append(Answer(is_applied=True, is_lost=True))

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return [SECRET, SECRET.removeprefix("whsec_"), "in-the-path"]


class TestSQL(AdapterContract):
    """A table that the first push creates, on SQLite, PostgreSQL and MariaDB, read by another connection."""

    @pytest.fixture
    def adapter(self, customer_url: str) -> Iterator[SQLAdapter]:
        options = {"url": customer_url, "table": "closures", "create_table": True}
        described = mapping.describe({})
        with closing(SQLAdapter.from_options(options, fields=described, worker_deadline_seconds=20)) as adapter:
            yield adapter

    @pytest.fixture
    def read_back(self, engine: sa.Engine) -> ReadBack:
        def read(conversation_id: str | None = None) -> list[Held]:
            with engine.connect() as connection:
                if not sa.inspect(connection).has_table("closures"):
                    return []
                rows = connection.execute(sa.text("SELECT * FROM closures")).mappings().all()
            return [
                Held(conversation_id=row["conversation_id"], version=row["version"], fields=dict(row))
                for row in rows
                if conversation_id in (None, row["conversation_id"])
            ]

        return read

    @pytest.fixture
    def refused(self) -> Refused:
        return Refused(fields={"duration_ms": "rather long"}, field="duration_ms")

    @pytest.fixture
    def lose_answer(self, adapter: SQLAdapter) -> Callable[[], None]:
        def lose() -> None:
            # Whatever goes before a push is done, so that the commit that is cut is the one that counts.
            adapter.delete("nobody")
            sa.event.listen(adapter._engine, "commit", commit_and_cut, once=True)

        return lose

    @pytest.fixture
    def secrets(self, customer_url: str) -> Sequence[str]:
        return [sa.make_url(customer_url).password or "no password is used here"]


def commit_and_cut(connection: sa.Connection) -> None:
    """Commit in earnest, and lose the connection before the driver that is to be told so."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        driver.execute("COMMIT")
    else:
        driver.commit()
    driver.close()
