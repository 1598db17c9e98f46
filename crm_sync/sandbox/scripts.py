"""Writes one conversation of the platform as it goes: who comes, what a bot does, who answers, who hangs up."""

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from crm_sync.sandbox.platform_conversations import (
    WRAPUP,
    Attributes,
    Channel,
    Flow,
    Outcome,
    Participant,
    PlatformConversation,
    Segment,
    Session,
)
from crm_sync.sandbox.platform_world import AGENTS, DIVISIONS, FLOWS, OUTCOME, QUEUES, WRAPUP_CODES

NOTES = ("refund issued", "parcel found", "will call back", "", None)


@dataclass(slots=True)
class Connected:
    """A leg that is under way, and the participant whose leg it is."""

    participant: Participant
    session_id: str
    segments: list[Segment]
    queue_id: str | None = None


@dataclass(slots=True)
class Script:
    """Keeps the time of a conversation and what has happened so far. Every choice is left to `chance`."""

    chance: random.Random
    channel: Channel
    at: datetime
    participants: dict[str, Participant] = field(default_factory=dict)
    connected: list[Connected] = field(default_factory=list)

    def wait(self, shortest: float, longest: float) -> None:
        """Let seconds pass, to the millisecond."""
        self.at += timedelta(milliseconds=self.chance.randint(int(shortest * 1000), int(longest * 1000)))

    def customer_comes(self, again: Connected | None = None) -> Connected:
        """Connect the customer, or the same one again with a new session."""
        if again is not None:
            return self._connect(self.participants[again.participant.id], "interact")
        leg = self._connect(Participant(id=self.id(), purpose="customer", name="Customer", sessions=()), "interact")
        self.note(leg, {"order_id": f"ORD-{self.chance.randint(100_000, 999_999)}", "customer_segment": "premium"})
        return leg

    def note(self, leg: Connected, values: dict[str, str]) -> None:
        """Set attributes of a participant beside those it has."""
        before = leg.participant.attributes
        merged = (before[-1].values if before else {}) | values
        leg.participant = replace(leg.participant, attributes=(*before, Attributes(values=merged, set_at=self.at)))
        self.participants[leg.participant.id] = leg.participant

    def bot(
        self, exit_reason: str, *, disconnect: str, outcome: str | None = None, transfer: str | None = None
    ) -> None:
        """Let the flow of this medium meet the customer until it exits."""
        known = FLOWS[self.channel.media]
        leg = self._connect(Participant(id=self.id(), purpose=known.purpose, name=known.name, sessions=()), "interact")
        began_at = self.at
        self.wait(10, 120)
        outcomes = [Outcome(id=OUTCOME, value=outcome, started_at=began_at, ended_at=self.at)] if outcome else []
        flow = Flow(
            id=known.id,
            name=known.name,
            type=known.type,
            version=known.version,
            exit_reason=exit_reason,
            transfer_type=transfer,
            outcomes=tuple(outcomes),
        )
        self.wait(0.5, 2)
        self._end(leg, disconnect, flow=flow)

    def queue(self) -> Connected:
        """Let the customer wait in a queue."""
        leg = self._connect(Participant(id=self.id(), purpose="acd", name="Queue", sessions=()), "interact")
        leg.queue_id = self.chance.choice(list(QUEUES))
        self.wait(2, 90)
        return leg

    def alert(self, queue: Connected, *, other_than: Connected | None = None) -> Connected:
        """Offer the customer who waits to an agent, another than the one named."""
        agents = [one for one in AGENTS if other_than is None or one != other_than.participant.user_id]
        user_id = self.chance.choice(agents)
        agent = Participant(id=self.id(), purpose="agent", name=AGENTS[user_id], user_id=user_id, sessions=())
        leg = self._connect(agent, "alert")
        leg.queue_id = queue.queue_id
        self.wait(1, 8)
        return leg

    def miss(self, agent: Connected) -> None:
        """Take the offer back from an agent who does not answer."""
        self._end(agent, "no_answer_transfer")

    def answer(self, queue: Connected, agent: Connected) -> None:
        """Let the agent answer and talk, with a hold now and then on the phone."""
        self._end(queue, "transfer", answered_by=agent.participant.user_id)
        self._go_on(agent, "interact")
        self.wait(30, 400)
        if self.channel.media == "voice" and self.chance.random() < 0.3:
            self._go_on(agent, "hold")
            self.wait(5, 60)
            self._go_on(agent, "interact")
            self.wait(5, 60)

    def leave(self, leg: Connected, disconnect: str) -> None:
        """End a leg, without after-call work."""
        self._end(leg, disconnect)

    def wrap_up(self, agent: Connected, disconnect: str, *, late: bool = False) -> None:
        """End an agent's leg with after-call work, which passes no time for the others."""
        began_at = self.at
        seconds = self.chance.randint(300_000, 900_000) if late else self.chance.randint(3_000, 60_000)
        wrapup = Segment(
            kind=WRAPUP,
            started_at=began_at,
            ended_at=began_at + timedelta(milliseconds=seconds),
            wrapup_code=self.chance.choice(list(WRAPUP_CODES)),
            wrapup_note=self.chance.choice(NOTES),
        )
        self._end(agent, disconnect, wrapup=wrapup)

    def conversation(self, story: str, *, self_served: bool = False) -> PlatformConversation:
        """Return what was written. Legs that nobody ended are under way."""
        for leg in list(self.connected):
            self._end(leg, None)
        return PlatformConversation(
            id=self.id(),
            story=story,
            channel=self.channel,
            participants=tuple(self.participants.values()),
            division_ids=tuple(self.chance.sample(DIVISIONS, self.chance.choice((1, 1, 1, 2)))),
            external_contact_id=self.id(),
            self_served=self_served,
        )

    def id(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def _connect(self, participant: Participant, kind: str) -> Connected:
        self.participants.setdefault(participant.id, participant)
        leg = Connected(participant, self.id(), [Segment(kind=kind, started_at=self.at)])
        self.connected.append(leg)
        return leg

    def _go_on(self, leg: Connected, kind: str) -> None:
        leg.segments[-1] = replace(leg.segments[-1], ended_at=self.at)
        leg.segments.append(Segment(kind=kind, started_at=self.at))

    def _end(
        self,
        leg: Connected,
        disconnect: str | None,
        *,
        flow: Flow | None = None,
        wrapup: Segment | None = None,
        answered_by: str | None = None,
    ) -> None:
        """Put a leg down as a session: ended now, or under way where there is no reason to end."""
        if disconnect is not None:
            leg.segments[-1] = replace(leg.segments[-1], ended_at=self.at, disconnect=disconnect)
        session = Session(
            id=leg.session_id,
            segments=(*leg.segments, wrapup) if wrapup else tuple(leg.segments),
            queue_id=leg.queue_id,
            answered_by=answered_by,
            flow=flow,
        )
        known = self.participants[leg.participant.id]
        self.participants[known.id] = replace(known, sessions=(*known.sessions, session))
        self.connected.remove(leg)
