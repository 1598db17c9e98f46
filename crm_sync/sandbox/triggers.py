"""The triggers of the pretend Genesys Cloud: which events start which workflow."""

import threading
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from crm_sync.sandbox import criteria
from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.problems import Problem, bad_field
from crm_sync.sandbox.topics import TRIGGER_TOPICS
from crm_sync.sandbox.wire import JSONObject

MAX_DESCRIPTION = 512
_FIELDS = (
    "name",
    "topicName",
    "enabled",
    "description",
    "target",
    "matchCriteria",
    "eventTTLSeconds",
    "delayBySeconds",
)


class TriggerRules(Order):
    """What differs between organisations, or is not documented: the topics, and whether a missing field is `NotIn`."""

    topics: tuple[str, ...] = TRIGGER_TOPICS
    missing_differs: bool = Field(default=True, alias="missingDiffers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One trigger; `fields` are those of its body that were given."""

    id: str
    version: int
    fields: JSONObject

    @property
    def address(self) -> str:
        return f"/api/v2/processautomation/triggers/{self.id}"

    def as_object(self) -> JSONObject:
        return {"id": self.id} | self.fields | {"version": self.version, "selfUri": self.address}

    def meets(self, event: JSONObject, *, missing_differs: bool) -> bool:
        """Tell whether an event meets all criteria; without criteria every event does."""
        wanted = self.fields.get("matchCriteria", [])
        return all(criteria.holds(criterion, event, missing_differs=missing_differs) for criterion in wanted)


class Triggers:
    """All triggers. Names need not differ; a change needs the version that it was made from."""

    def __init__(self) -> None:
        self.rules = TriggerRules()
        self._lock = threading.Lock()
        self._by_id: dict[str, Trigger] = {}

    def add(self, body: JSONObject) -> Trigger:
        """Add a trigger; raises Problem 400."""
        trigger = Trigger(id=str(uuid.uuid4()), version=1, fields=_read(body, topics=self.rules.topics))
        with self._lock:
            self._by_id[trigger.id] = trigger
        return trigger

    def replace(self, trigger_id: str, body: JSONObject) -> Trigger:
        """Replace a trigger but for its topic; raises Problem 400, 404, or 409 for a stale version."""
        with self._lock:
            known = self._known(trigger_id)
            fields = _read(body, topics=[known.fields["topicName"]])
            if not _is_whole(body.get("version")):
                raise bad_field("version", "must be the number that was read")
            if body["version"] != known.version:
                raise Problem(409, f"The trigger has the version {known.version} by now.")
            self._by_id[trigger_id] = trigger = Trigger(id=trigger_id, version=known.version + 1, fields=fields)
        return trigger

    def remove(self, trigger_id: str) -> None:
        with self._lock:
            del self._by_id[self._known(trigger_id).id]

    def get(self, trigger_id: str) -> Trigger:
        """Return a trigger; raises Problem 404 for an unknown one."""
        with self._lock:
            return self._known(trigger_id)

    def all(self, topics: Collection[str] = ()) -> list[Trigger]:
        """Return the triggers of these topics, or all."""
        with self._lock:
            return [one for one in self._by_id.values() if not topics or one.fields["topicName"] in topics]

    def fires(self, topic: str, event: JSONObject) -> list[str]:
        """Return the ids of the workflows that an event of a topic, with its literal `{id}`, starts."""
        return [
            trigger.fields["target"]["id"]
            for trigger in self.all([topic])
            if trigger.fields["enabled"] and trigger.meets(event, missing_differs=self.rules.missing_differs)
        ]

    def _known(self, trigger_id: str) -> Trigger:
        if trigger_id not in self._by_id:
            raise Problem(404, "There is no such trigger.")
        return self._by_id[trigger_id]


def _read(body: JSONObject, *, topics: Collection[str]) -> JSONObject:
    fields = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    name, wanted = fields.get("name"), fields.get("matchCriteria", [])
    if not isinstance(name, str) or not name.strip():
        raise bad_field("name", "must be a text")
    if fields.get("topicName") not in topics:
        raise bad_field("topicName", "must be a topic that triggers have here, and never changes")
    if not isinstance(fields.get("enabled"), bool):
        raise bad_field("enabled", "must be true or false")
    if not _is_target(fields.get("target")):
        raise bad_field("target", "must be a Workflow with its id and, if any, a known dataFormat")
    if not isinstance(fields.get("description", ""), str) or len(fields.get("description", "")) > MAX_DESCRIPTION:
        raise bad_field("description", f"must be a text of at most {MAX_DESCRIPTION} characters")
    if not _is_whole(fields.get("eventTTLSeconds", 10), least=10):
        raise bad_field("eventTTLSeconds", "must be 10 or more")
    if not _is_whole(fields.get("delayBySeconds", 60), least=60, most=900):
        raise bad_field("delayBySeconds", "must be 60 to 900")
    if "eventTTLSeconds" in fields and "delayBySeconds" in fields:
        raise bad_field("delayBySeconds", "must not stand beside eventTTLSeconds")
    if not isinstance(wanted, list):
        raise bad_field("matchCriteria", "must be a list of objects")
    for criterion in wanted:
        criteria.check(criterion)
    return fields


def _is_target(target: Any) -> bool:
    if not isinstance(target, dict) or target.get("type") != "Workflow" or not isinstance(target.get("id"), str):
        return False
    settings = target.get("workflowTargetSettings") or {}
    return isinstance(settings, dict) and settings.get("dataFormat") in (None, "Json", "TopLevelPrimitives")


def _is_whole(value: Any, *, least: int = 0, most: int | None = None) -> bool:
    return type(value) is int and value >= least and (most is None or value <= most)
