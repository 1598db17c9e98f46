"""The topics that the pretend organisation has; `{id}` stands literally where an event's own topic has an id."""

DETAIL = "v2.detail.events.conversation.{id}."

TRIGGER_TOPICS = (
    *(
        DETAIL + kind
        for kind in (
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
    ),
    "v2.quality.evaluations",
)
"""What the public list offers for triggers: `flow.end`, `flow.outcome` and others are not in it."""
