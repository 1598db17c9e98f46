"""What the tests of the API share: an application on a real database, with closures and tokens in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import Connection, insert

from crm_sync import clock
from crm_sync.app import create_app
from crm_sync.closure import Closure
from crm_sync.resolution import Status
from crm_sync.services import Services, opened
from crm_sync.settings import Settings
from crm_sync.store import tokens
from crm_sync.store.tables import AttemptRow, ClosureRow, DeliveryRow, EventRow, TargetRow

SECRET = SecretStr("a secret that is long enough for all")
LONG_AGO = clock.now() - timedelta(days=30)


@contextmanager
def service(url: str, **settings: Any) -> Iterator[Services]:
    """Open the services on this database."""
    with opened(Settings(database_url=url, **{"webhook_secrets": (SECRET,)} | settings)) as services:
        yield services


class Caller:
    """Asks the API with a token, or with none."""

    def __init__(self, services: Services, token: str | None) -> None:
        self._client: FlaskClient = create_app(services).test_client()
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **query: str) -> Any:
        """Return the answer to a GET."""
        return self._client.get(path, query_string=query or None, headers=self._headers)

    def closures(self, **query: str) -> Any:
        """Return the JSON of a page, which must be one."""
        answer = self.get("/api/v1/closures", **query)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def ids(self, **query: str) -> list[str]:
        """Return the conversation ids of a page."""
        return [closure["conversation_id"] for closure in self.closures(**query)["closures"]]


def caller(services: Services, role: str = "reader") -> Caller:
    """Return a caller with a new token of this role."""
    with services.database.write() as connection:
        return Caller(services, tokens.create(connection, name="test", role=role))


def add_closure(
    connection: Connection, conversation_id: str, *, updated_at: datetime = LONG_AGO, version: int = 1,
    facts: dict[str, Any] | None = None, **known: Any
) -> None:  # fmt: skip
    """Store a closure with these fields."""
    closure = Closure(conversation_id=conversation_id, **known)
    values = {f.name: getattr(closure, f.name) for f in fields(Closure)}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    values |= {"resolution": str(Status(closure.resolution)), "facts": facts or {}, "digest": "", "version": version}
    connection.execute(insert(ClosureRow).values(values | {"created_at": updated_at, "updated_at": updated_at}))


def add_event(
    connection: Connection, event_id: str, conversation_id: str, *, received_at: datetime, **known: Any
) -> None:
    """Store an event of a conversation, with a body that nobody should be shown."""
    values: dict[str, Any] = {"status": "accepted", "kind": "v2.detail.events", "source": "webhook"}
    values |= {"event_id": event_id, "dedupe_key": event_id, "conversation_id": conversation_id}
    values |= {"received_at": received_at, "body": b"the customer's words"} | known
    connection.execute(insert(EventRow).values(values))


def add_target(connection: Connection, name: str, state: str = "live") -> int:
    """Store a target, which a process has just named, and return its id."""
    named_until = clock.now() + timedelta(hours=1)
    values = {"name": name, "adapter": "memory", "state": state, "named_until": named_until, "created_at": LONG_AGO}
    return int(connection.scalar(insert(TargetRow).values(values).returning(TargetRow.id)) or 0)


def add_delivery(connection: Connection, target_id: int, conversation_id: str, **known: Any) -> int:
    """Store a delivery, pending unless told otherwise, and return its id."""
    values = {
        "state": "pending", "desired_version": 1, "due_at": LONG_AGO, "attempts": 0, "lost_leases": 0,
        "push_again": False, "redelivery": 0, "created_at": LONG_AGO, "updated_at": LONG_AGO,
    }  # fmt: skip
    values |= {"target_id": target_id, "conversation_id": conversation_id} | known
    return int(connection.scalar(insert(DeliveryRow).values(values).returning(DeliveryRow.id)) or 0)


def add_attempt(connection: Connection, delivery_id: int, *, finished_at: datetime, **known: Any) -> None:
    """Store an attempt that created a record, unless told otherwise, and took a second."""
    values = {"delivery_id": delivery_id, "version": 1, "push_key": "key", "outcome": "created"}
    values |= {"started_at": finished_at - timedelta(seconds=1), "finished_at": finished_at} | known
    connection.execute(insert(AttemptRow).values(values))
