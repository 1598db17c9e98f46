"""A conversation of the platform as a value: records, conversation objects and events are all derived from it.

    conversation ─ participants (customer, botflow, acd, agent) ─ sessions ─ segments, flow ─ outcomes

Words are kept in one spelling of ours (`consult_transfer`, `voice`); each derivation spells them its own way. Instants
are whole milliseconds, so that events and records agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crm_sync import clock

WRAPUP = "wrapup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """How a customer and the organisation talk: `voice`, `chat`, `email`, `message` or `callback`, and from where."""

    media: str
    provider: str
    direction: str = "inbound"
    message_type: str | None = None
    sender: str | None = None
    recipient: str | None = None
    subject: str | None = None
    callback_name: str | None = None
    callback_numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of a session: `alert`, `interact`, `hold` or `wrapup`. One without an end is under way."""

    kind: str
    started_at: datetime
    ended_at: datetime | None = None
    disconnect: str | None = None
    wrapup_code: str | None = None
    wrapup_note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a flow says it achieved: `SUCCESS` or `FAILURE`."""

    id: str
    value: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A bot or another flow at work. It has an exit once it has ended."""

    id: str
    name: str
    type: str
    version: str
    exit_reason: str | None = None
    transfer_type: str | None = None
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One leg. An acd leg that was answered names the user who did."""

    id: str
    segments: tuple[Segment, ...]
    queue_id: str | None = None
    answered_by: str | None = None
    flow: Flow | None = None

    @property
    def talk(self) -> tuple[Segment, ...]:
        """All but the after-call work."""
        return tuple(segment for segment in self.segments if segment.kind != WRAPUP)

    @property
    def wrapups(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.kind == WRAPUP)

    @property
    def started_at(self) -> datetime:
        return self.segments[0].started_at

    @property
    def ended_at(self) -> datetime | None:
        """When the leg was disconnected; after-call work may follow."""
        return self.talk[-1].ended_at

    @property
    def disconnect(self) -> str | None:
        return self.talk[-1].disconnect

    def milliseconds(self, kind: str) -> int:
        """Return how long its segments of a kind lasted that have ended."""
        lengths = (one.ended_at - one.started_at for one in self.segments if one.kind == kind and one.ended_at)
        return sum(lengths, timedelta()) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """All attributes of a participant, as they were from an instant on."""

    values: dict[str, str] = field(repr=False)
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Somebody or something that takes part."""

    id: str
    purpose: str
    name: str
    sessions: tuple[Session, ...]
    user_id: str | None = None
    attributes: tuple[Attributes, ...] = ()

    @property
    def started_at(self) -> datetime:
        return self.sessions[0].started_at

    @property
    def ended_at(self) -> datetime | None:
        return _newest_end(session.ended_at for session in self.sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConversation:
    """A conversation from its first segment to its last, or so far. `story` says what it is an example of."""

    id: str
    story: str
    channel: Channel
    participants: tuple[Participant, ...]
    division_ids: tuple[str, ...]
    external_contact_id: str
    self_served: bool = False
    initiator: str = "customer"

    @property
    def started_at(self) -> datetime:
        return min(participant.started_at for participant in self.participants)

    @property
    def customer_left_at(self) -> datetime | None:
        """When the customer's newest session ended; None while it lasts."""
        return next(one for one in self.participants if one.purpose == "customer").ended_at

    @property
    def disconnected_at(self) -> datetime | None:
        """When the last leg was disconnected; None while one lasts. Somebody may still be in after-call work."""
        return _newest_end(participant.ended_at for participant in self.participants)

    @property
    def ended_at(self) -> datetime | None:
        """When all was over, after-call work too; None before."""
        return _newest_end(
            segment.ended_at
            for participant in self.participants
            for session in participant.sessions
            for segment in session.segments
        )

    def legs(self, purpose: str) -> list[tuple[Participant, Session]]:
        """Return all sessions of a purpose with their participants, in the order in which they began."""
        return [
            (participant, session)
            for participant in self.participants
            if participant.purpose == purpose
            for session in participant.sessions
        ]


def milliseconds_between(first: datetime, last: datetime) -> int:
    return clock.to_ms(last) - clock.to_ms(first)


def _newest_end(ends: Iterator[datetime | None]) -> datetime | None:
    known = list(ends)
    return max((end for end in known if end is not None), default=None) if None not in known else None
