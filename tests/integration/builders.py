"""What the tests of the store and the worker share: event bodies, and a store with short ways to look into it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, func, select, text, update

from crm_sync import clock
from crm_sync.closure import Event
from crm_sync.genesys import events
from crm_sync.pace import Rate
from crm_sync.resolution import ResolutionMap, Status
from crm_sync.settings_targets import TargetSettings
from crm_sync.store import outbox, targets
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox
from crm_sync.store.outbox import Claim, Settlement
from crm_sync.store.tables import AttemptRow, Base, ClosureRow, DeliveryRow, EventRow, PersonRow, TargetRow

CONVERSATION = "2f7bf00a-0fc2-4d6a-9b56-92238191433e"
ORGANIZATION = "32aa07aa-db1b-4987-abd0-9483601ec29d"
STARTED_MS = 1_649_237_400_000
SOLVED = "f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21"
MAP = ResolutionMap(wrapup_codes={SOLVED: Status.RESOLVED})

_COMMON = {
    "mediaType": "MESSAGE", "messageType": "OPEN", "direction": "INBOUND", "provider": "PureCloud Messaging",
    "addressFrom": "customer-42", "addressTo": "open-integration-id",
}  # fmt: skip
_TABLES = {row.__tablename__: row for row in (AttemptRow, ClosureRow, DeliveryRow, EventRow, PersonRow, TargetRow)}
_AWAITED = {"targets": ("not_before", "open_until", "tat"), "deliveries": ("due_at", "lease_until")}


def body(kind: str, conversation_id: str = CONVERSATION, *, at: int, session: str = "customer", **data: Any) -> bytes:
    """Return an event of this kind, as it is posted, so many seconds after the conversation began."""
    told = {"topicName": f"v2.detail.events.conversation.{conversation_id}.{kind}", "conversationId": conversation_id}
    told |= {"eventTime": STARTED_MS + at * 1000, "sessionId": session} | _COMMON | data
    return json.dumps(told).encode()


def started(conversation_id: str = CONVERSATION, *, at: int = 0, **data: Any) -> bytes:
    """Return the start of the customer's session: it only informs, while nothing has ended."""
    return body("customer.start", conversation_id, at=at, **data)


def ended(conversation_id: str = CONVERSATION, *, at: int = 100, **data: Any) -> bytes:
    """Return the end of the customer's session, which closes the conversation."""
    return body("customer.end", conversation_id, at=at, **{"disconnectType": "CLIENT"} | data)


def wrapped_up(conversation_id: str = CONVERSATION, *, at: int = 120, **data: Any) -> bytes:
    """Return a wrap-up, which resolves the conversation."""
    told = {"wrapupCode": SOLVED, "wrapupNotes": "refund issued", "wrapupDurationMs": 20_000, "queueId": "queue-1"}
    return body("wrapup", conversation_id, at=at, session="agent", **told | data)


def agent_left(conversation_id: str = CONVERSATION, *, at: int = 101) -> bytes:
    """Return the end of the agent's session."""
    told = {"userId": "agent-1", "queueId": "queue-1", "interactingDurationMs": 48_000, "heldDurationMs": 0}
    return body("user.end", conversation_id, at=at, session="agent", **told)


def bot_succeeded(conversation_id: str = CONVERSATION, *, at: int = 40) -> bytes:
    """Return the outcome of a bot's flow."""
    told = {"flowId": "flow-1", "flowOutcomeId": "outcome-1", "flowOutcomeValue": "SUCCESS"}
    return body("flow.outcome", conversation_id, at=at, session="bot", **told)


def enveloped(inner: bytes, *, organization_id: str = ORGANIZATION) -> bytes:
    """Return the same event as EventBridge brings it."""
    data = json.loads(inner)
    topic = data.pop("topicName")
    return json.dumps(
        {
            "id": "58fb5dac-f077-4eec-a25f-c638dbdd4368",
            "detail-type": "v2.detail.events.conversation.{id}." + topic.split(".", 5)[5],
            "source": f"aws.partner/genesys.com/cloud/{organization_id}/crm-sync",
            "detail": {"topicName": topic, "eventBody": data},
        }
    ).encode()


def parsed(*bodies: bytes, organization_id: str | None = None) -> list[Event]:
    """Return the events of these bodies, received now."""
    context = events.Context(source="webhook", received_at=clock.now(), organization_id=organization_id)
    return [event for each in bodies for event in events.parse(each, context)[0]]


def named(*names: str, **settings: Any) -> dict[str, TargetSettings]:
    """Return the settings of targets with these names."""
    return {name: TargetSettings.model_validate({"adapter": "memory", **settings}) for name in names}


class Store:
    """A database with an inbox on it; has the target `crm` unless told otherwise."""

    def __init__(self, url: str, *, names: tuple[str, ...] = ("crm",)) -> None:
        self.database = Database(url)
        self.inbox = Inbox(self.database, MAP)
        self.names = names
        with self.database.write() as connection:
            self.target_ids = targets.sync(connection, named(*names))
        self.target_id = self.target_ids.get("crm", 0)

    def record(self, *bodies: bytes) -> list[str]:
        """Record these bodies in one transaction and return what became of each."""
        return [str(recorded.status) for recorded in self.inbox.record(parsed(*bodies))]

    def row(self, table: str, **where: Any) -> Row[Any]:
        """Return the one row that fits."""
        (found,) = self.rows(table, **where)
        return found

    def rows(self, table: str, **where: Any) -> list[Row[Any]]:
        """Return the rows that fit, in the order of their primary key."""
        chosen = Base.metadata.tables[table]
        with self.database.read() as connection:
            query = select(chosen).filter_by(**where).order_by(*chosen.primary_key.columns)
            return list(connection.execute(query))

    def count(self, table: str) -> int:
        """Return the number of rows."""
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(Base.metadata.tables[table])) or 0

    def change(self, table: str, *, where: dict[str, Any] | None = None, **values: Any) -> None:
        """Change the rows that fit behind the store's back; a text value in `sql:` is taken as SQL."""
        values = {
            name: text(value.removeprefix("sql:")) if isinstance(value, str) and value.startswith("sql:") else value
            for name, value in values.items()
        }
        with self.database.write() as connection:
            connection.execute(update(_TABLES[table]).filter_by(**where or {}).values(**values))

    def delivery(self, conversation_id: str = CONVERSATION, target: str = "crm") -> Row[Any]:
        """Return the delivery of a conversation to a target."""
        return self.row("deliveries", conversation_id=conversation_id, target_id=self.target_ids[target])

    def expire_leases(self) -> None:
        """Let every lease have run out, by the database's clock."""
        earlier = "now() - interval '1 second'" if self.database.is_postgresql else LONG_AGO_SQLITE
        with self.database.write() as connection:
            connection.execute(text(f"UPDATE deliveries SET lease_until = {earlier} WHERE lease_until IS NOT NULL"))

    def let_pass(self, span: timedelta) -> None:
        """Let so much time pass: every instant that somebody waits for comes so much nearer."""
        for table, names in _AWAITED.items():
            for row in self.rows(table):
                known = {name: row._mapping[name] for name in names}
                nearer = {name: at - span for name, at in known.items() if at is not None}
                self.change(table, where={"id": row.id}, **nearer or known)

    def claim(
        self, *, limit: int = 100, lease_seconds: float = 60, target: str = "crm", rate: Rate | None = None
    ) -> list[Claim]:
        """Claim what is due."""
        target_id = self.target_ids[target]
        with self.database.write() as connection:
            return outbox.claim(connection, target_id, limit=limit, lease_seconds=lease_seconds, rate=rate)

    def settle(self, *settlements: Settlement) -> list[Claim]:
        """Settle, and return the claims that came too late."""
        with self.database.write() as connection:
            return outbox.settle(connection, settlements)


LONG_AGO_SQLITE = "'2020-01-01 00:00:00.000000'"


@contextmanager
def opened_store(url: str, *, names: tuple[str, ...] = ("crm",)) -> Iterator[Store]:
    """Open a store on this database, and close it."""
    store = Store(url, names=names)
    try:
        yield store
    finally:
        store.database.close()


def paid(claim: Claim, **known: Any) -> Settlement:
    """Return the settlement of a push that succeeded."""
    return settlement(claim, **{"state": "delivered", "outcome": "created", "payload_hash": "a" * 64} | known)


def settlement(claim: Claim, **known: Any) -> Settlement:
    """Return the settlement of a push that failed for now, unless told otherwise."""
    values: dict[str, Any] = {"state": "pending", "outcome": "failed", "sent": True, "push_key": "key"}
    values |= {"started_at": clock.now(), "finished_at": clock.now()} | known
    return Settlement(claim=claim, **values)
