"""Sessions on the real platform: what they are asked for with, and services that speak its dialect."""

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from crm_sync import initiate
from crm_sync.initiate import Outcome
from crm_sync.services import Services
from crm_sync.settings_sessions import SessionSettings

BOT = "12aeeeff-c0af-4f8b-b647-7a350630419f"
SUPPORT = "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"
LAUNCH = "/api/v2/textbots/botflows/sessions"
TURNS = f"{LAUNCH}/*/turns"
CALLBACKS = "/api/v2/conversations/callbacks"
NUMBER = "+13175550100"
LIVE = {"conversation_id": "c-live", "participant_id": "p-1"}
Make = Callable[..., Services]


def limits(**change: Any) -> SessionSettings:
    """Return settings with a queue of people and a language understanding."""
    usual = {"human_queue_id": SUPPORT, "nlu_domain_id": "d-1", "nlu_version_id": "v-1"}
    return SessionSettings(**{name: value for name, value in (usual | change).items() if value is not None})


def body(**change: Any) -> dict[str, Any]:
    """Return a request for a session with the sandbox's bot."""
    return {"to": [{"id": BOT}], "from": {"id": "user-456", "name": "Ann"}, "type": "message"} | change


def start(services: Services, *, key: str | None = None, **change: Any) -> Outcome:
    """Start a session as its request says, without waiting for anything."""
    request = initiate.parse(to_json(body(**change)), services.settings)
    return initiate.start(services, request, idempotency_key=key, sleep=lambda _: None)
