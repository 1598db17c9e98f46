"""The settings of virtual-agent sessions: thresholds, limits, and what the real platform wants to know."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from crm_sync.settings_targets import Count, Table, Text

Channel: TypeAlias = Literal["Chat", "Call", "Messaging"]
UserAgent: TypeAlias = Literal[
    "Phone", "SMS", "GenesysWebWidget", "FacebookMessenger", "WeChat", "Whatsapp", "AppleBusinessChat", "Apple",
    "Telegram", "Slack", "Signal", "Line", "Discord", "TwitterDirectMessage", "Open", "Instagram", "Other", "Unknown",
]  # fmt: skip


class SessionSettings(Table):
    """Thresholds and limits of the virtual-agent sessions that we start.

    From `nlu_domain_id` on they are the real platform's: which language understanding evaluates a message, through
    which channel a bot is spoken to (by the type of the session unless it is given), what a bot flow accepts, and
    after how long without a turn a session no longer counts as going on.
    """

    max_turns: Count = 10
    confidence_min: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.6
    sentiment_min: Annotated[float, Field(strict=True, ge=-1, le=1)] = -0.5
    human_queue_id: Text | None = None
    max_concurrent: Count = 5
    max_attribute_bytes: Count = 40_960
    nlu_domain_id: Text | None = None
    nlu_version_id: Text | None = None
    language: Text = "en-us"
    channel: Channel | None = None
    user_agent: UserAgent | None = None
    max_attributes: Count = 50
    max_attribute_characters: Count = 256
    idle_minutes: Count = 60

    @model_validator(mode="after")
    def _domain_has_a_version(self) -> "SessionSettings":
        if (self.nlu_domain_id is None) is not (self.nlu_version_id is None):
            raise ValueError("names a domain or a version alone; set both nlu_domain_id and nlu_version_id, or neither")
        return self
