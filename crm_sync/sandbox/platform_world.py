"""The pretend organisation: its queues, agents, flows and wrap-up codes, always with the same ids."""

from dataclasses import dataclass

ORGANIZATION = "32aa07aa-db1b-4987-abd0-9483601ec29d"
DIVISIONS = ("a85d0cf7-0afb-4561-adfd-9289c07cd51f", "b1e2c9d4-5c39-4f0e-8d1a-6a2f7c3e9b02")
QUEUES = {
    "67ce2258-ff62-4f8e-8467-2d79c9b98e2b": "Support",
    "d5a3f8b1-2c4e-4f60-9a7b-8e1d0c6b5a94": "Billing",
}
AGENTS = {
    "5f6fe78e-dfbb-400f-a70b-d9b5c8340fdc": "Ada Lind",
    "33aa0f5c-8e1d-4b7a-b2c6-7d9e4f1a5b33": "Ben Okoro",
    "c4e81b2d-6f93-4a05-8b7e-2a3d5c9f6e44": "Chen Wei",
    "d7f25a9e-1c48-4e3b-95d0-8b6a4c2e7f55": "Dora Weiss",
}
RESOLVED = "f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21"
NOT_RESOLVED = "3a6d1c92-7b45-4e0f-a8d1-5c2e9f4b6a73"
ESCALATED = "c84b2e17-6f3d-4d9a-b0e5-1a7c8d2f9e46"
WRAPUP_CODES = {RESOLVED: "Resolved", NOT_RESOLVED: "Not resolved", ESCALATED: "Escalated"}
WRAPUP_WORDS = {RESOLVED: "resolved", NOT_RESOLVED: "unresolved", ESCALATED: "escalated"}
"""What the organisation means by its wrap-up codes, as an admin would write it into the settings."""

OUTCOME = "0f7a6f3e-1111-4c2b-8f60-2f4d6a9e0b01"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFlow:
    """A published flow, and the purpose under which it takes part."""

    id: str
    name: str
    type: str
    purpose: str = "botflow"
    version: str = "27.0"


FLOWS = {
    "voice": KnownFlow(id="a1f0c2d3-4e5b-4a6c-8d7e-9f0b1c2d3e88", name="Voice bot", type="BOT"),
    "chat": KnownFlow(id="b2a1d3e4-5f6c-4b7d-9e8f-0a1c2d3e4f99", name="Chat bot", type="BOT"),
    "message": KnownFlow(id="12aeeeff-c0af-4f8b-b647-7a350630419f", name="Support Bot", type="DIGITALBOT"),
    "email": KnownFlow(
        id="c3b2e4f5-6a7d-4c8e-af90-1b2d3e4f5aaa", name="Inbound email", type="INBOUNDEMAIL", purpose="workflow"
    ),
}
"""The flow that meets a customer, by medium. A callback meets none."""
