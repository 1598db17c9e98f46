"""Which kind of event a body holds: told by its topic, or recognised by its keys."""

import re
from collections.abc import Mapping
from typing import Any

_TOPIC = re.compile(r"v2\.detail\.events\.conversation\.(?P<id>\{id\}|[^.]+)\.(?P<kind>[a-z.]+)")

USER_DURATIONS = (
    "interactingDurationMs", "heldDurationMs", "alertingDurationMs", "contactingDurationMs", "dialingDurationMs",
    "callbackDurationMs",
)  # fmt: skip

MERGED = frozenset(
    ("customer.start", "customer.end", "user.start", "user.end", "acd.start", "acd.end", "acw", "wrapup", "attributes",
     "flow.start", "flow.end", "flow.outcome")
)  # fmt: skip
"""The kinds that tell us something. The others are kept, and ignored."""


def of_topic(topic: str) -> tuple[str, str] | None:
    """Return the conversation id (or the literal `{id}`) and the kind that a topic names, None for another topic."""
    match = _TOPIC.fullmatch(topic)
    return (match["id"], match["kind"]) if match else None


def of_keys(data: Mapping[str, Any]) -> str:
    """Return the kind of an event without a topic, by the first row that fits the keys of the event classes."""

    def has(*names: str) -> bool:
        return any(data.get(name) is not None for name in names)

    if has("flowOutcomeId", "flowOutcomeValue"):
        return "flow.outcome"
    if has("exitReason", "transferType") or (has("flowId") and has("disconnectType", "connectedDurationMs")):
        return "flow.end"
    if has("flowId"):
        return "flow.start"
    if has("wrapupCode", "wrapupNotes", "wrapupDurationMs"):
        return "acw" if has("userId") else "wrapup"
    if has("attributes"):
        return "attributes"
    if has("voicemailDurationMs"):
        return "voicemail.end"
    if has("outboundCampaignId", "outboundContactId", "outboundContactListId"):
        return "outbound"
    if has("acdOutcome", "answeredUserId", "usedRouting"):
        return "acd.end"
    if has("queueId") and not has("userId") and has("disconnectType", "connectedDurationMs"):
        return "acd.end"
    if has("userId") and has("disconnectType", *USER_DURATIONS):
        return "user.end"
    if has("disconnectType", "interactingDurationMs"):
        return "customer.end"
    return "unrecognised"
