"""How a conversation was resolved: Genesys Cloud never says it, so it is decided from the signals we have.

The signals are ranked, the first that speaks decides, and a later and better one corrects it:

    1  wrap-up code in the configured map             final, unless the code is provisional
    2  resolution status in a payload or attribute    final when its word is known
    3  outcome or exit of a bot flow                  never final: a person may still take over
    4  analytics: the customer served itself          never final
    5  left in a queue, handed on, or cut off         never final
    -  nothing but a disconnect                       unknown, pending
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum


class Status(StrEnum):
    """Our words for how a conversation was resolved."""

    RESOLVED = "resolved"
    UNRESOLVED = "unresolved"
    ESCALATED = "escalated"
    TRANSFERRED = "transferred"
    ABANDONED = "abandoned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A status with where it came from, the vendor's own words, and whether it can still change by itself."""

    status: Status
    source: str | None = None
    reason: str | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionMap:
    """What an organisation's own words mean: its wrap-up codes (by id, or by name in lower case) and resolution words.

    `grace` is how long after the end of a conversation readers are told that a resolution may still come.
    """

    wrapup_codes: Mapping[str, Status] = field(default_factory=dict)
    wrapup_names: Mapping[str, Status] = field(default_factory=dict)
    words: Mapping[str, Status] = field(default_factory=lambda: {"resolved": Status.RESOLVED})
    attribute: str = "resolutionStatus"
    grace: timedelta = timedelta(minutes=10)

    def with_names(self, names: Mapping[str, str]) -> "ResolutionMap":
        """Return the map for codes with these names, id -> name. What is mapped by its id keeps that meaning."""
        by_name = {
            code: status
            for code, name in names.items()
            if (status := self.wrapup_names.get(name.strip().casefold())) is not None
        }
        return replace(self, wrapup_codes={**by_name, **self.wrapup_codes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The newest thing that each source has said about one conversation."""

    wrapup_code: str | None = None
    payload_word: str | None = None
    attribute_word: str | None = None
    flow_outcome: str | None = None
    flow_exit: str | None = None
    flow_transfer: str | None = None
    acd_outcome: str | None = None
    disconnect: str | None = None
    self_served: bool = False
    queue_reached: bool = False
    agent_took_part: bool = False
    closed: bool = False
    wrapup_is_provisional: bool = False


PENDING = Resolution(status=Status.UNKNOWN)
_LONGEST_REASON = 200

_TO_PEOPLE = frozenset(("ACD", "USER", "GROUP"))
_CUT_OFF = {
    "timeout": Status.ABANDONED,
    "inactivity": Status.ABANDONED,
    "session_expired": Status.ABANDONED,
    "error": Status.UNRESOLVED,
    "transport_failure": Status.UNRESOLVED,
    "uncallable": Status.UNRESOLVED,
    "dnd_endpoint": Status.UNRESOLVED,
}
"""What a disconnect type says by itself: nobody was there any more, or something failed."""


def decide(signals: Signals, known: ResolutionMap) -> Resolution:
    """Return the resolution by the first rank that speaks; `PENDING`-like when none does."""
    return (
        _by_wrapup(signals, known)
        or _by_word("payload", signals.payload_word, known)
        or _by_word("attribute", signals.attribute_word, known)
        or _by_flow(signals)
        or _by_self_service(signals)
        or _by_queue(signals)
        or _by_transfer(signals)
        or _by_disconnect(signals)
    )


def _by_wrapup(signals: Signals, known: ResolutionMap) -> Resolution | None:
    code = signals.wrapup_code
    if code is None or (status := known.wrapup_codes.get(code)) is None:
        return None
    return Resolution(status=status, source="wrapup_code", reason=code, is_final=not signals.wrapup_is_provisional)


def _by_word(source: str, word: str | None, known: ResolutionMap) -> Resolution | None:
    if word is None:
        return None
    status = known.words.get(word.strip().casefold())
    if status is None:
        # Somebody did say it, in a word that nobody has explained to us: guessing on would be worse.
        return Resolution(status=Status.UNKNOWN, source=source, reason=word[:_LONGEST_REASON])
    return Resolution(status=status, source=source, reason=word[:_LONGEST_REASON], is_final=True)


def _by_flow(signals: Signals) -> Resolution | None:
    outcome, exit_reason = signals.flow_outcome, signals.flow_exit
    if outcome == "SUCCESS" and not signals.agent_took_part:
        return Resolution(status=Status.RESOLVED, source="flow_outcome", reason="SUCCESS")
    if outcome == "FAILURE":
        return Resolution(status=Status.UNRESOLVED, source="flow_outcome", reason="FAILURE")
    if exit_reason is not None and exit_reason.startswith(("FLOW_ERROR_", "RECOGNITION_FAILURE_")):
        return Resolution(status=Status.UNRESOLVED, source="flow_exit", reason=exit_reason)
    return None


def _by_self_service(signals: Signals) -> Resolution | None:
    if signals.self_served and not signals.agent_took_part:
        return Resolution(status=Status.RESOLVED, source="self_served", reason="selfServed")
    return None


def _by_queue(signals: Signals) -> Resolution | None:
    """Abandoned: it waited for people, and is over without any. While it lasts they may still come."""
    if signals.agent_took_part or not (signals.closed and signals.queue_reached):
        return None
    return Resolution(status=Status.ABANDONED, source="queue", reason=signals.acd_outcome)


def _by_transfer(signals: Signals) -> Resolution | None:
    if signals.flow_exit != "TRANSFER":
        return None
    to = signals.flow_transfer
    if to in _TO_PEOPLE:
        return Resolution(status=Status.ESCALATED, source="flow_transfer", reason=to)
    if to == "NUMBER" and not signals.agent_took_part:
        return Resolution(status=Status.TRANSFERRED, source="flow_transfer", reason=to)
    return None


def _by_disconnect(signals: Signals) -> Resolution:
    if signals.disconnect is None and signals.flow_exit == "SESSION_EXPIRE_DISCONNECT":
        return Resolution(status=Status.ABANDONED, source="flow_exit", reason=signals.flow_exit)
    if signals.disconnect is None:
        return PENDING
    status = _CUT_OFF.get(signals.disconnect, Status.UNKNOWN)
    return Resolution(status=status, source="disconnect", reason=signals.disconnect)
