"""The law of the closure: it is a function of the set of events, whatever their order, number, shape and storage."""

import copy
import json
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_sync import clock
from crm_sync.closure import Closure, Event, Facts, derive, merge
from crm_sync.resolution import ResolutionMap, Status
from tests.unit.genesys.builders import (
    CONVERSATION_ID,
    KNOWN,
    NOON_MS,
    RECEIVED_AT,
    accepted,
    detail,
    enveloped,
    merged,
    platform,
    tutorial,
    with_topic,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
UUID = "9fb2ca78-8389-4758-b76a-9b0300de1fce"
CUSTOMERS = ("customer-1", UUID, UUID.upper())
LEGS = ("leg-1", "leg-2")
HANDED_ON = ("TRANSFER", "CONSULT_TRANSFER", "TAKEOVER")

# Few and close together, so that instants meet: the equal ones are where an order could show.
moments = st.sampled_from([0, 0, 1, 2, 3, 1000, 60_000]).map(lambda offset: NOON_MS + offset)
instants = st.sampled_from([float, str, int]).flatmap(lambda notation: moments.map(notation))
words = st.sampled_from(["resolved", "RESOLVED", "half done", "lost"])
numbers = st.sampled_from([0, -0.0, 1, 1.0, 2, 2.5, 100.0, 1e15, 1e-7])
values = st.recursive(
    st.sampled_from(["", "a", "A", "nul \0", "\ufffd", True, False, None]) | numbers | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["b", "aa", "B"]), inner, max_size=2),
    max_leaves=4,
)
attributes = st.dictionaries(st.sampled_from(["resolutionStatus", "a", "B", "nul\0"]), values, max_size=3)
common = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from(["MESSAGE", "VOICE", "NEW", "UNKNOWN"]),
        "direction": st.sampled_from(["INBOUND", "OUTBOUND"]),
        "ani": st.sampled_from(["tel:+13175550100", "a", "nul \0"]),
        "addressTo": st.sampled_from(["b", "c"]),
        "divisionId": st.sampled_from([UUID, UUID.upper(), "d"]),
        "conversationExternalContactIds": st.lists(st.sampled_from([UUID, UUID.upper(), "c"]), max_size=2),
    },
)
durations = st.sampled_from([None, 0, 1, 1.0, 5000])
by_kind: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "customer.start": {},
    "customer.end": {"disconnectType": st.sampled_from([None, "CLIENT", "PEER", "NEW", *HANDED_ON])},
    "user.start": {"userId": st.sampled_from(["u-1", "u-2"])},
    "user.end": {"userId": st.sampled_from(["u-1", "u-2"]), "interactingDurationMs": durations},
    "acd.start": {"queueId": st.sampled_from(["q-1", UUID.upper()])},
    "acd.end": {"acdOutcome": st.sampled_from(["ABANDON", "ANSWERED"]), "queueId": st.sampled_from(["q-1", "q-2"])},
    "acw": {"wrapupCode": st.sampled_from(["code-lost", "x"]), "wrapupDurationMs": durations, "userId": st.just("u")},
    "wrapup": {"wrapupCode": st.sampled_from(["code-lost", "x", None]), "wrapupNotes": st.sampled_from(["", "n", "m"])},
    "attributes": {"attributes": attributes},
    "flow.start": {"flowId": st.sampled_from(["f-1", "f-2"])},
    "flow.end": {"exitReason": st.sampled_from(["FLOW_ERROR_EXIT", "USER_EXIT", "TRANSFER"])},
    "flow.outcome": {"flowOutcomeValue": st.sampled_from(["SUCCESS", "FAILURE"])},
}


@st.composite
def details(draw: st.DrawFn) -> Any:
    # Half of them of the customer, who decides whether it is over.
    kind = draw(st.sampled_from(["customer.start", "customer.end"]) | st.sampled_from(sorted(by_kind)))
    session = draw(st.sampled_from(CUSTOMERS if kind.startswith("customer") else LEGS))
    data = draw(common) | draw(st.fixed_dictionaries(by_kind[kind]))
    body = detail(kind, at_ms=draw(instants), session=session, **data)
    shape = draw(st.sampled_from(["flat", "topic", "envelope"]))
    return {"flat": body, "topic": with_topic(kind, body), "envelope": enveloped(kind, body)}[shape]


texts = moments.map(lambda ms: clock.to_text(clock.from_ms(ms)).replace("Z", "999Z"))
objects = st.fixed_dictionaries(
    {"startTime": texts, "endTime": texts | moments | st.none()},
    optional={"attributes": attributes, "resolutionStatus": words, "from": st.just({"id": "someone-else"})},
)
whole = st.builds(lambda data, state: tutorial(**data, state=state), objects, st.sampled_from(["closed", "active"]))
codes = st.sampled_from(["code-lost", "x"])
wrapups = st.fixed_dictionaries({"code": codes}, optional={"endTime": texts, "provisional": st.booleans()})
purposes = st.sampled_from(["customer", "external", "agent", "acd", "botflow", "new"])


def parties(legs: str, of: Any, **optional: Any) -> Any:
    """Return participants with their legs, of which each belongs to the customer or to somebody else for good."""

    def party(purpose: str) -> Any:
        ids = st.sampled_from(CUSTOMERS if purpose in ("customer", "external") else LEGS)
        known = {"purpose": st.just(purpose), legs: st.lists(of(ids), max_size=2)}
        return st.fixed_dictionaries(known, optional={"attributes": attributes, **optional})

    return purposes.flatmap(party)


def of_conversation(ids: Any) -> Any:
    optional = {"connectedTime": texts, "disconnectedTime": texts, "wrapup": wrapups}
    optional["disconnectType"] = st.sampled_from(["client", "transfer.consult"])
    return st.fixed_dictionaries({"id": ids}, optional=optional)


def of_record(ids: Any) -> Any:
    known = {"sessionId": ids, "segments": st.lists(segments, max_size=3)}
    return st.fixed_dictionaries(known, optional={"flow": flows, "mediaType": st.sampled_from(["message", "voice"])})


participants = parties("messages", of_conversation, userId=st.just("u-3"), endTime=texts)
asked = st.builds(
    lambda data, people: platform(**data, participants=people), objects, st.lists(participants, max_size=3)
)
segments = st.fixed_dictionaries(
    {"segmentType": st.sampled_from(["interact", "alert", "wrapup"]), "segmentStart": texts},
    optional={
        "segmentEnd": texts,
        "disconnectType": st.sampled_from(["client", "consultTransfer", "sessionExpired"]),
        "wrapUpCode": codes,
        "queueId": st.just("q-3"),
    },
)
outcomes = st.fixed_dictionaries({"flowOutcomeValue": st.sampled_from(["SUCCESS", "FAILURE"])})
flows = st.fixed_dictionaries({}, optional={"exitReason": st.just("TRANSFER"), "outcomes": st.lists(outcomes)})
recorded = st.fixed_dictionaries(
    {"conversationId": st.just(CONVERSATION_ID), "conversationStart": texts},
    optional={
        "conversationEnd": texts,
        "selfServed": st.booleans(),
        "participants": st.lists(parties("sessions", of_record), max_size=3),
    },
)
events = st.one_of(details(), details(), details(), whole, asked, recorded).map(accepted)
sets_of_events = st.lists(events, max_size=8)
bare = st.builds(lambda data: platform(**data), objects)
sets_of_plain_events = st.lists(st.one_of(details(), details(), details(), whole, bare).map(accepted), max_size=8)
"""Of which the rules of closing can be written down in a few lines: no participants of whole objects."""


def closure(facts: Facts, known: ResolutionMap = KNOWN) -> Closure:
    return derive(CONVERSATION_ID, facts, known)


def as_stored(facts: Facts) -> Facts:
    """Return facts as PostgreSQL's JSONB gives them back: keys by length and value, and no order that we chose."""

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: ordered(value[name]) for name in sorted(value, key=lambda name: (len(name.encode()), name))}
        return [ordered(item) for item in value] if isinstance(value, list) else value

    loaded: Facts = json.loads(json.dumps(ordered(facts), ensure_ascii=False))
    return loaded


def exactly(value: Any) -> str:
    """Return a text that tells 1 from 1.0 and from True, which `==` does not."""
    return json.dumps(value.as_record() if isinstance(value, Closure) else value, sort_keys=True)


@unhurried
@given(sets_of_events, st.data())
def test_any_order_and_any_repetition_of_events_give_the_same_facts_and_closure(
    found: list[Event], data: st.DataObject
) -> None:
    repeated = data.draw(st.permutations(found + data.draw(st.lists(st.sampled_from(found or [None]), max_size=4))))
    facts = merged(event for event in repeated if event is not None)

    assert exactly(facts) == exactly(merged(found))
    assert exactly(closure(facts)) == exactly(closure(merged(found)))


@unhurried
@given(sets_of_events, sets_of_events)
def test_merging_is_commutative(one: list[Event], other: list[Event]) -> None:
    assert exactly(merge(merged(one), merged(other))) == exactly(merge(merged(other), merged(one)))


@unhurried
@given(sets_of_events, sets_of_events, sets_of_events)
def test_merging_is_associative(one: list[Event], two: list[Event], three: list[Event]) -> None:
    a, b, c = merged(one), merged(two), merged(three)

    assert exactly(merge(merge(a, b), c)) == exactly(merge(a, merge(b, c)))


@unhurried
@given(sets_of_events, sets_of_events)
def test_merging_is_idempotent(one: list[Event], other: list[Event]) -> None:
    facts = merged(one)

    assert exactly(merge(facts, facts)) == exactly(merge(facts, {})) == exactly(merge({}, facts)) == exactly(facts)
    both = merge(facts, merged(other))
    assert exactly(merge(both, facts)) == exactly(both)


@unhurried
@given(sets_of_events, sets_of_events)
def test_facts_that_were_stored_in_between_are_the_same_facts(one: list[Event], other: list[Event]) -> None:
    straight = merge(merged(one), merged(other))
    stored = merge(as_stored(merged(one)), as_stored(merged(other)))

    assert exactly(stored) == exactly(straight)
    assert exactly(closure(as_stored(stored))) == exactly(closure(straight))
    assert closure(as_stored(stored)) == closure(straight)


@unhurried
@given(sets_of_events)
def test_merging_and_deriving_are_pure(found: list[Event]) -> None:
    facts = merged(found)
    before = copy.deepcopy((facts, [event.facts for event in found]))
    first, again = closure(facts), closure(facts)

    assert exactly(first) == exactly(again)
    assert merged(found) == facts
    assert (facts, [event.facts for event in found]) == before


marks = st.sampled_from(["", "1", "1.x", "2"])
scoped = st.dictionaries(st.sampled_from(["a", "b"]), st.tuples(marks, values).map(list), min_size=1, max_size=2)
any_facts = st.dictionaries(st.sampled_from(["", "session:s", "+set"]), scoped, max_size=3)


@unhurried
@given(any_facts, any_facts, any_facts)
def test_merging_keeps_its_laws_even_where_equal_stamps_carry_different_values(a: Facts, b: Facts, c: Facts) -> None:
    assert exactly(merge(a, b)) == exactly(merge(b, a))
    assert exactly(merge(merge(a, b), c)) == exactly(merge(a, merge(b, c)))
    assert exactly(merge(a, a)) == exactly(a)


@unhurried
@given(sets_of_events)
def test_the_map_of_resolutions_changes_the_resolution_alone(found: list[Event]) -> None:
    facts = merged(found)
    mapped, unmapped = closure(facts).as_record(), closure(facts, ResolutionMap(words={})).as_record()

    differing = {name for name, value in mapped.items() if value != unmapped[name]}
    assert differing <= {
        "resolution", "resolution_source", "resolution_reason", "resolution_final", "awaiting_until",
    }  # fmt: skip


def is_handed_on(event: Event) -> bool:
    body = event.body.decode()
    return any(f'"disconnectType": "{word}"' in body for word in HANDED_ON)


def leg(event: Event) -> str:
    return next(scope for scope in event.facts if scope.startswith("session:"))


def ms(at: datetime | None) -> int:
    assert at is not None
    return clock.to_ms(at)


def expected_ends(found: list[Event]) -> tuple[bool, int | None, int | None]:
    """Return closed, the end, and when the customer left, by the rules as they are written, from the events alone."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    handed_on: dict[str, int] = {}
    records = []
    for event in found:
        if event.kind == "customer.start":
            starts[leg(event)] = max(ms(event.occurred_at), starts.get(leg(event), 0))
        elif event.kind == "customer.end":
            known = handed_on if is_handed_on(event) else ends
            known[leg(event)] = max(ms(event.occurred_at), known.get(leg(event), 0))
        elif event.kind == "conversation" and "ended_at" in event.facts[""]:
            records.append((ms(event.occurred_at), event.dedupe_key, event.facts[""]["ended_at"][1]))
    left = max(ends.values(), default=None)
    newest = max((at for at, _, _ in records), default=None)
    # A whole object's instant is the newest time inside; only among equal ones may the end of either hold.
    told = {end for at, _, end in records if at == newest}
    is_over = any(end >= starts.get(session, 0) for session, end in ends.items())
    # A leg that was handed on is not where the customer is: neither over nor open.
    is_open = any(start > max(ends.get(leg, 0), handed_on.get(leg, 0)) for leg, start in starts.items())
    by_record = newest is not None and all(newest > start for start in starts.values())
    ended = max([*([left] if left is not None else []), *(told if len(told) == 1 else ())], default=None)
    return by_record or (is_over and not is_open), ended if len(told) < 2 else None, left


@settings(unhurried, max_examples=300)
@given(sets_of_plain_events)
def test_closed_and_ended_follow_the_written_rules(found: list[Event]) -> None:
    closed, ended, left = expected_ends(found)
    result = closure(merged(found))

    assert result.closed == closed
    assert result.customer_left_at == (None if left is None else clock.from_ms(left))
    if ended is not None:
        assert result.ended_at == clock.from_ms(ended)


@unhurried
@given(sets_of_events)
def test_a_closure_is_sound_whatever_led_to_it(found: list[Event]) -> None:
    result = closure(merged(found))

    assert not result.closed or result.ended_at is not None
    assert (result.awaiting_until is not None) == (result.ended_at is not None and not result.resolution_final)
    assert result.duration_ms is None or result.duration_ms >= 0
    assert result.resolution_final <= (result.resolution_source in {"wrapup_code", "payload", "attribute"})
    assert not (result.agent_took_part and result.resolution_source == "flow_outcome" and result.resolution_final)
    assert result.started_at == min(
        (clock.from_ms(scope["started_at"][1]) for event in found for scope in event.facts.values()
         if "started_at" in scope),
        default=None,
    )  # fmt: skip
    for name in ("agent_ids", "queue_ids", "flow_ids", "bot_ids", "division_ids", "external_contact_ids"):
        members = getattr(result, name)
        assert list(members) == sorted(set(members))
    assert result.ended_at is None or result.ended_at <= RECEIVED_AT


@unhurried
@given(sets_of_events, sets_of_events)
def test_an_agent_who_took_part_and_members_of_sets_are_never_forgotten(known: list[Event], later: list[Event]) -> None:
    before, after = closure(merged(known)), closure(merged(known + later))

    assert after.agent_took_part >= before.agent_took_part
    assert set(after.agent_ids) >= set(before.agent_ids)
    assert set(after.division_ids) >= set(before.division_ids)
    if before.agent_took_part:
        assert (after.resolution, after.resolution_source) != (Status.RESOLVED, "flow_outcome")
