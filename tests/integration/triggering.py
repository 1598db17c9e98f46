"""The triggers of a pretend Genesys Cloud: as they are, as they should be, and as an admin changes them."""

from typing import Any

from tests.integration.pretend import PretendGenesys

TOPIC = "v2.detail.events.conversation.{id}."
WORKFLOW, OTHER = "b008976c-e085-43b7-b27d-9c0efd5fbfb5", "e1a2b3c4-0000-4000-8000-000000000001"
TRANSFERS = [
    "TRANSFER",
    "CONSULT_TRANSFER",
    "CONFERENCE_TRANSFER",
    "FORWARD_TRANSFER",
    "NO_ANSWER_TRANSFER",
    "NOT_AVAILABLE_TRANSFER",
    "DND_TRANSFER",
]


def found(genesys: PretendGenesys) -> list[dict[str, Any]]:
    """Return all triggers, by name and id."""
    everything = [trigger.as_object() for trigger in genesys.state.triggers.all()]
    return sorted(everything, key=lambda trigger: (trigger["name"], trigger["id"]))


def target(workflow_id: str) -> dict[str, Any]:
    settings = {"dataFormat": "TopLevelPrimitives"}
    return {"type": "Workflow", "id": workflow_id, "workflowTargetSettings": settings}


def change(genesys: PretendGenesys, trigger_id: str | None, **changes: Any) -> None:
    """Change a trigger as an admin would."""
    known = genesys.state.triggers.get(trigger_id or "")
    genesys.state.triggers.replace(known.id, known.fields | {"version": known.version} | changes)
