"""The topics that the pretend organisation has; `{id}` stands literally where an event's own topic has an id."""

import re
from collections.abc import Collection

DETAIL = "v2.detail.events.conversation.{id}."

_FOR_TRIGGERS = (
    "acd.end",
    "acd.start",
    "acw",
    "attributes",
    "customer.end",
    "customer.start",
    "outbound",
    "user.end",
    "user.start",
    "voicemail.end",
    "voicemail.start",
    "wrapup",
)
_FOR_CHANNELS_ONLY = ("contact", "flow.end", "flow.outcome", "flow.start")

TRIGGER_TOPICS = (*(DETAIL + kind for kind in _FOR_TRIGGERS), "v2.quality.evaluations")
"""What the public list offers for triggers: `flow.end`, `flow.outcome` and others are not in it."""

CHANNEL_TOPICS = {
    **{DETAIL + kind: "analytics:conversationDetail:view" for kind in _FOR_TRIGGERS + _FOR_CHANNELS_ONLY},
    "v2.routing.queues.{id}.conversations": "conversation:communication:view",
    "v2.users.{id}.conversations": "conversation:communication:view",
    "v2.speechandtextanalytics.conversation.{id}.sentiment": "speechAndTextAnalytics:data:view",
}
"""What a channel can subscribe to with an id in the place of `{id}`, and the permission that it takes."""


def template_of(topic: str, templates: Collection[str]) -> str | None:
    """Return the template that a topic with an id fits, or None; there are no wildcards."""
    return next((known for known in templates if re.fullmatch(_pattern(known), topic)), None)


def _pattern(template: str) -> str:
    return re.escape(template).replace(re.escape("{id}"), r"[\w-]+")
