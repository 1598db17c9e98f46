"""How a conversation of the platform was resolved: the pretend Genesys Cloud's own opinion, to compare a CRM with.

The first of these that speaks decides:

    wrap-up code that the organisation explains        its word
    attribute `resolutionStatus` of a participant      that word
    newest outcome or exit of the flows                resolved (without an agent), unresolved
    served by flows alone                              resolved
    handed to people by a flow                         escalated
    reached a queue and no agent; timed out            abandoned
    broken off by a failure                            unresolved
    anything else                                      unknown
"""

from collections.abc import Mapping

from crm_sync.sandbox.platform_conversations import Flow, PlatformConversation, Segment
from crm_sync.sandbox.platform_world import WRAPUP_WORDS

_TIMED_OUT = frozenset(("timeout", "inactivity", "session_expired"))
_FAILED = frozenset(("error", "transport_failure", "uncallable", "dnd_endpoint"))
_PEOPLE = frozenset(("ACD", "USER", "GROUP"))


def expected_resolution(conversation: PlatformConversation, words: Mapping[str, str] = WRAPUP_WORDS) -> str:
    """Return the word for how a conversation was resolved, given what the wrap-up codes mean."""
    return (
        _by_wrapup(conversation, words)
        or _by_attribute(conversation)
        or _by_flow(conversation)
        or ("resolved" if conversation.self_served else None)
        or _by_how_it_ended(conversation)
    )


def newest_wrapup(conversation: PlatformConversation) -> Segment | None:
    """Return the after-call work that ended last and has a code."""
    wrapups = [
        (one.ended_at, one)
        for _, session in conversation.legs("agent")
        for one in session.wrapups
        if one.ended_at is not None and one.wrapup_code is not None
    ]
    return max(wrapups, key=lambda pair: pair[0])[1] if wrapups else None


def _by_wrapup(conversation: PlatformConversation, words: Mapping[str, str]) -> str | None:
    newest = newest_wrapup(conversation)
    return None if newest is None else words.get(newest.wrapup_code or "")


def _by_attribute(conversation: PlatformConversation) -> str | None:
    told = [
        (attributes.set_at, attributes.values["resolutionStatus"])
        for participant in conversation.participants
        for attributes in participant.attributes
        if "resolutionStatus" in attributes.values
    ]
    return max(told)[1] if told else None


def _by_flow(conversation: PlatformConversation) -> str | None:
    flows = _flows(conversation)
    outcomes = sorted((one.ended_at, one.value) for flow in flows for one in flow.outcomes)
    if outcomes and outcomes[-1][1] == "FAILURE":
        return "unresolved"
    if outcomes and not _agent_took_part(conversation):
        return "resolved"
    exits = [flow.exit_reason or "" for flow in flows]
    return "unresolved" if any(one.startswith(("FLOW_ERROR_", "RECOGNITION_FAILURE_")) for one in exits) else None


def _by_how_it_ended(conversation: PlatformConversation) -> str:
    flows = _flows(conversation)
    if any(flow.exit_reason == "TRANSFER" and flow.transfer_type in _PEOPLE for flow in flows):
        return "escalated"
    if conversation.legs("acd") and not _agent_took_part(conversation):
        return "abandoned"
    disconnect = conversation.legs("customer")[-1][1].disconnect
    if disconnect in _TIMED_OUT or any(flow.exit_reason == "SESSION_EXPIRE_DISCONNECT" for flow in flows):
        return "abandoned"
    return "unresolved" if disconnect in _FAILED else "unknown"


def _flows(conversation: PlatformConversation) -> list[Flow]:
    return [session.flow for one in conversation.participants for session in one.sessions if session.flow]


def _agent_took_part(conversation: PlatformConversation) -> bool:
    # Also one who is still talking, whose time is not counted yet.
    return any(segment.kind == "interact" for _, leg in conversation.legs("agent") for segment in leg.talk)
