"""What the pretend organisation consists of: flows, their outcomes, wrap-up codes and queues, each with a fixed id."""

import threading
import uuid
from collections.abc import Collection
from typing import ClassVar, Literal, TypeVar

from pydantic import Field

from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject

ORGANIZATION = {"id": "32aa07aa-db1b-4987-abd0-9483601ec29d", "name": "Example Retail"}
DIVISION = {"id": "a85d0cf7-0afb-4561-adfd-9289c07cd51f", "name": "Home"}

FlowType = Literal["WORKFLOW", "BOT", "DIGITALBOT", "INBOUNDCALL", "INBOUNDCHAT", "INBOUNDEMAIL", "INBOUNDSHORTMESSAGE"]


class Entry(Order):
    """One thing with an id and a name; the control API takes the same fields."""

    path: ClassVar[str]

    id: str = Field(default_factory=lambda: str(uuid.uuid4()), min_length=1)
    name: str = Field(min_length=1)

    def as_object(self) -> JSONObject:
        return {"id": self.id, "name": self.name, "division": DIVISION, "selfUri": f"/api/v2/{self.path}/{self.id}"}


class Flow(Entry):
    """A flow of Architect: a workflow can be a trigger's target, a bot takes sessions."""

    path = "flows"

    type: FlowType = "WORKFLOW"
    active: bool = True
    version: str | None = "1.0"
    deleted: bool = False

    def as_object(self) -> JSONObject:
        told = super().as_object() | {"type": self.type, "active": self.active, "deleted": self.deleted}
        if self.version is not None:
            address = f"/api/v2/flows/{self.id}/versions/{self.version}"
            told["publishedVersion"] = {"id": self.version, "name": self.version, "type": "PUBLISH", "selfUri": address}
        return told

    @property
    def is_bot(self) -> bool:
        return self.type in ("BOT", "DIGITALBOT")

    @property
    def is_running(self) -> bool:
        return self.active and self.version is not None and not self.deleted


class Outcome(Entry):
    """What a flow can come to."""

    path = "flows/outcomes"


class WrapupCode(Entry):
    """What an agent says that a conversation came to."""

    path = "routing/wrapupcodes"


class Queue(Entry):
    """Where people wait for an agent, and the ids of the wrap-up codes that agents choose from there; None is all."""

    path = "routing/queues"

    wrapup_codes: tuple[str, ...] | None = Field(default=None, alias="wrapupCodes")


SEED: tuple[Entry, ...] = (
    Flow(id="b008976c-e085-43b7-b27d-9c0efd5fbfb5", name="Post to crm-sync", version="3.0"),
    Flow(id="4c1f6f0e-8d0a-4f5e-9c57-2f1f3b6a7d10", name="Post to crm-sync, draft", active=False, version=None),
    Flow(id="12aeeeff-c0af-4f8b-b647-7a350630419f", name="Support Bot", type="DIGITALBOT", version="27.0"),
    Flow(id="a1f0c2d3-4e5b-4a6c-8d7e-9f0b1c2d3e88", name="Voice bot", type="BOT", version="27.0"),
    Flow(id="b2a1d3e4-5f6c-4b7d-9e8f-0a1c2d3e4f99", name="Chat bot", type="BOT", version="27.0"),
    Flow(id="c3b2e4f5-6a7d-4c8e-af90-1b2d3e4f5aaa", name="Inbound email", type="INBOUNDEMAIL", version="27.0"),
    Outcome(id="0f7a6f3e-1111-4c2b-8f60-2f4d6a9e0b01", name="Request served"),
    Outcome(id="9b1c7d2a-3e4f-4b5a-8c6d-7e8f9a0b1c2d", name="Order cancelled"),
    WrapupCode(id="f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21", name="Resolved"),
    WrapupCode(id="3a6d1c92-7b45-4e0f-a8d1-5c2e9f4b6a73", name="Not resolved"),
    WrapupCode(id="c84b2e17-6f3d-4d9a-b0e5-1a7c8d2f9e46", name="Escalated"),
    Queue(id="67ce2258-ff62-4f8e-8467-2d79c9b98e2b", name="Support"),
    Queue(id="d5a3f8b1-2c4e-4f60-9a7b-8e1d0c6b5a94", name="Billing"),
)

E = TypeVar("E", bound=Entry)


class Directory:
    """All entries by kind and id, in the order in which they came."""

    def __init__(self, seed: Collection[Entry] = SEED) -> None:
        self._lock = threading.Lock()
        self._entries: dict[tuple[type[Entry], str], Entry] = {(type(entry), entry.id): entry for entry in seed}

    def put(self, entry: Entry) -> None:
        """Add an entry, or replace the one of the same kind and id."""
        with self._lock:
            self._entries[type(entry), entry.id] = entry

    def find(self, kind: type[E], entry_id: object) -> E | None:
        with self._lock:
            found = self._entries.get((kind, entry_id)) if isinstance(entry_id, str) else None
        return found if isinstance(found, kind) else None

    def get(self, kind: type[E], entry_id: str) -> E:
        """Return one entry; raises Problem 404 for an unknown one."""
        found = self.find(kind, entry_id)
        if found is None:
            raise Problem(404, f"There is no {kind.__name__} with the id {entry_id}.")
        return found

    def all(self, kind: type[E]) -> list[E]:
        with self._lock:
            return [entry for entry in self._entries.values() if isinstance(entry, kind)]
