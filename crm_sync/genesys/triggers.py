"""Process automation triggers, which start a workflow with every event of a topic, and the workflows they start."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure
from crm_sync.genesys import paging
from crm_sync.genesys.client import GenesysClient, not_understood
from crm_sync.settings_genesys import DataFormat

TOPIC = "v2.detail.events.conversation.{id}."
"""What the topics of conversations begin with: the braces stand there literally."""

_PATH = "/api/v2/processautomation/triggers"
_COMPARED = ("enabled", "target", "matchCriteria", "eventTTLSeconds", "delayBySeconds", "description")
_TRANSFERS = (
    "TRANSFER", "CONSULT_TRANSFER", "CONFERENCE_TRANSFER", "FORWARD_TRANSFER", "NO_ANSWER_TRANSFER",
    "NOT_AVAILABLE_TRANSFER", "DND_TRANSFER",
)  # fmt: skip
_MALFORMED = "check workflow_id, kinds and data_format in [genesys.triggers]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A trigger as it shall be: `fields` are what is compared, as the API writes it."""

    name: str
    topic: str
    fields: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger as Genesys Cloud lists it."""

    id: str
    name: str
    topic: str
    version: JSON
    fields: Mapping[str, JSON]

    @property
    def workflow_id(self) -> str | None:
        """The workflow that it starts."""
        target = self.fields.get("target")
        found = target.get("id") if isinstance(target, dict) else None
        return found if isinstance(found, str) else None


def describe(
    kind: str, *, prefix: str, workflow_id: str, data_format: DataFormat, leave_out_transfers: bool
) -> Description:
    """Return the trigger for a kind of event. It neither delays events nor lets them get too old: late beats lost."""
    fields: dict[str, JSON] = {
        "enabled": True,
        "description": f"Tells crm-sync of {kind} events. Made by crm-sync, which also changes it.",
        "target": {
            "type": "Workflow",
            "id": workflow_id,
            "workflowTargetSettings": {"dataFormat": data_format},
        },
    }
    if leave_out_transfers and kind == "customer.end":
        fields["matchCriteria"] = [{"jsonPath": "disconnectType", "operator": "NotIn", "values": list(_TRANSFERS)}]
    return Description(name=f"{prefix} {kind}", topic=TOPIC + kind, fields=fields)


def topics(client: GenesysClient) -> set[str]:
    """Return the topics that triggers can have in this organisation."""
    found = paging.entities(client, f"{_PATH}/topics", what="the topics of triggers")
    return {topic for topic in found if isinstance(topic, str)}


def listed(client: GenesysClient, topics: Iterable[str]) -> list[Trigger]:
    """Return the triggers of these topics, the first by id first."""
    found = paging.entities(client, _PATH, what="the list of triggers", topicName=",".join(sorted(topics)))
    return sorted((trigger for entity in found if (trigger := _read(entity))), key=lambda trigger: trigger.id)


def differences(trigger: Trigger, wanted: Description) -> dict[str, tuple[JSON, JSON]]:
    """Return the fields in which a trigger is not what it shall be, each as it is and as it shall be."""
    pairs = {name: (trigger.fields.get(name), wanted.fields.get(name)) for name in _COMPARED}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def create(client: GenesysClient, wanted: Description) -> str:
    """Make a trigger and return its id. Its answer may get lost: AMBIGUOUS."""
    made = client.request("POST", _PATH, json=_body(wanted), malformed=_MALFORMED).json()
    trigger = _read(made)
    if trigger is None:
        raise not_understood("the making of a trigger")
    return trigger.id


def replace(client: GenesysClient, trigger: Trigger, wanted: Description) -> None:
    """Make a trigger what it shall be. Raises CONFLICT, code `http_409`, when it was changed since it was read."""
    body = _body(wanted) | {"version": trigger.version}
    client.request("PUT", _path_of(trigger.id), json=body, malformed=_MALFORMED)


def remove(client: GenesysClient, trigger_id: str) -> bool:
    """Remove a trigger; return whether there was one."""
    try:
        client.request("DELETE", _path_of(trigger_id))
    except AdapterFailure as error:
        if error.fault.code in ("http_404", "http_410"):
            return False
        raise
    return True


def workflow_fault(client: GenesysClient, workflow_id: str) -> str | None:
    """Return in words why a trigger cannot start this workflow, None when it can."""
    try:
        flow = client.request("GET", f"/api/v2/flows/{quote(workflow_id, safe='')}").json()
    except AdapterFailure as error:
        if error.fault.code not in ("http_404", "http_410"):
            raise
        return f"There is no flow {workflow_id} in this organisation: give workflow_id the id that Architect shows."
    if not isinstance(flow, dict):
        raise not_understood("a flow")
    if flow.get("type") != "WORKFLOW":
        return f"The flow {workflow_id} is no workflow, which a trigger needs: make one in Architect, and name that."
    if flow.get("deleted") is True:
        return f"The workflow {workflow_id} is deleted: name another one in workflow_id."
    if not flow.get("publishedVersion"):
        return f"The workflow {workflow_id} is not published: publish it in Architect."
    if flow.get("active") is not True:
        return f"The workflow {workflow_id} is not active: activate it in Architect."
    return None


def _body(wanted: Description) -> dict[str, JSON]:
    return {"name": wanted.name, "topicName": wanted.topic, **wanted.fields}


def _path_of(trigger_id: str) -> str:
    return f"{_PATH}/{quote(trigger_id, safe='')}"


def _read(entity: JSON) -> Trigger | None:
    """Return the trigger that this tells of. One without a name or a topic is none of ours."""
    if not isinstance(entity, dict):
        return None
    trigger_id, name, topic = (entity.get(key) for key in ("id", "name", "topicName"))
    if not (isinstance(trigger_id, str) and isinstance(name, str) and isinstance(topic, str)):
        return None
    known = {field: _known(field, entity.get(field)) for field in _COMPARED}
    fields = {field: value for field, value in known.items() if value is not None}
    return Trigger(id=trigger_id, name=name, topic=topic, version=entity.get("version"), fields=fields)


def _known(field: str, value: JSON) -> JSON:
    """Return what we know of a field: what the platform adds to it by itself must not look like a difference."""
    match field, value:
        case "target", dict():
            settings = _only(value.get("workflowTargetSettings"), "dataFormat")
            named = _only(value, "type", "id")
            return {**named, "workflowTargetSettings": settings} if settings else named
        case "matchCriteria", list():
            # Without any criterion every event fires, whether there is an empty list or none.
            return [_only(criterion, "jsonPath", "operator", "value", "values") for criterion in value] or None
        case "description", "":
            return None
    return value


def _only(value: JSON, *names: str) -> dict[str, JSON]:
    given = value if isinstance(value, dict) else {}
    return {name: given[name] for name in names if given.get(name) is not None}
