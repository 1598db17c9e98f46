"""Bodies that are authentic and wrong: each is stored as an event or quarantined with a reason, none is an error."""

import copy
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import String

from crm_sync.closure import Closure, Event, EventStatus, derive
from crm_sync.genesys import events
from crm_sync.resolution import ResolutionMap
from crm_sync.store.tables import (
    ADDRESS_LENGTH,
    KEY_LENGTH,
    PERSON_LENGTH,
    Base,
    ClosureRow,
    EventRow,
)
from tests.unit.genesys.builders import (
    RECEIVED_AT,
    accepted,
    closed_by,
    context,
    detail,
    enveloped,
    merged,
    parsed,
    platform,
    sample,
    tutorial,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
END = sample("customer.end")
WRONG: tuple[Any, ...] = (True, False, 0, -1, 1.5, "", "word", [], [1], [None, {}], {}, {"a": [1]})
COMMON = {
    "mediaType": "MESSAGE", "messageType": "OPEN", "direction": "INBOUND", "provider": "Edge",
    "ani": "tel:+13175550100", "dnis": "tel:+13175550199", "divisionId": "d",
    "conversationExternalContactIds": ["c"], "conversationExternalOrganizationIds": ["o"], "externalContactId": "c",
    "externalOrganizationId": "o",
}  # fmt: skip
BY_KIND: dict[str, dict[str, Any]] = {
    "customer.start": {},
    "customer.end": {"disconnectType": "CLIENT"},
    "user.start": {},
    "user.end": {"interactingDurationMs": 1, "heldDurationMs": 1, "queueId": "q", "userId": "u"},
    "acd.start": {"queueId": "q"},
    "acd.end": {"queueId": "q", "acdOutcome": "ANSWERED", "answeredUserId": "u"},
    "acw": {"queueId": "q", "userId": "u", "wrapupCode": "c", "wrapupNotes": "n", "wrapupDurationMs": 1},
    "wrapup": {"queueId": "q", "wrapupCode": "c", "wrapupNotes": "n", "wrapupDurationMs": 1},
    "attributes": {"attributes": {"a": "b"}},
    "flow.start": {"flowId": "f"},
    "flow.end": {"flowId": "f", "exitReason": "USER_EXIT"},
    "flow.outcome": {"flowId": "f", "flowOutcomeValue": "SUCCESS"},
}


def outcome(body: bytes) -> Event:
    """Return the one event of a body, once what every event must keep has been looked at."""
    found, _ = events.parse(body, context())
    for event in found:
        check_fits(event)
    return found[0]


def texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, item in value.items():
                yield from texts(name)
                yield from texts(item)
        case list() | tuple():
            for item in value:
                yield from texts(item)


def check_fits(event: Event) -> None:
    """Look at what either engine would refuse to store, or would store as something else."""
    _check_columns(EventRow, {f.name: getattr(event, f.name) for f in fields(Event)} | {"event_id": event.event_id})
    assert len(event.dedupe_key) <= KEY_LENGTH
    assert event.received_at.tzinfo is not None
    if event.status is not EventStatus.ACCEPTED:
        assert (event.facts, event.people, event.reason is None) == ({}, (), False)
        return
    assert event.conversation_id
    assert event.occurred_at is not None
    assert event.occurred_at.utcoffset() == timedelta(0)
    assert event.occurred_at <= RECEIVED_AT + events.AHEAD
    assert json.loads(json.dumps(event.facts)) == event.facts
    for person in event.people:
        assert person.kind in {"phone", "email", "contact", "address"}
        assert 0 < len(person.value) <= PERSON_LENGTH
        _check_text(person.value)
    _check_closure(derive(event.conversation_id, event.facts, ResolutionMap()))


def _check_closure(closure: Closure) -> None:
    _check_columns(ClosureRow, closure.as_record())
    for name in ("duration_ms", "talk_ms", "held_ms", "acw_ms"):
        assert 0 <= (getattr(closure, name) or 0) < 2**53


def _check_columns(row: type[Base], values: dict[str, Any]) -> None:
    for column in Base.metadata.tables[row.__tablename__].columns:
        value = values.get(column.name)
        for text in texts(value):
            _check_text(text)
        if isinstance(value, str) and isinstance(column.type, String) and column.type.length is not None:
            assert len(value) <= column.type.length, column.name


def _check_text(text: str) -> None:
    assert "\0" not in text
    text.encode()


@pytest.mark.parametrize("kind", BY_KIND)
def test_a_wrong_type_in_any_field_of_any_kind_is_quarantined_by_name(kind: str) -> None:
    whole = detail(kind, topicName=None, **COMMON, **BY_KIND[kind])
    refused = dict.fromkeys(whole, 0)
    assert closed_by(enveloped(kind, whole, detail=whole)).conversation_id

    for name in whole:
        for wrong in WRONG:
            changed = whole | {name: wrong}
            event = outcome(json.dumps(enveloped(kind, changed, detail=changed)).encode())
            assert event.status is EventStatus.ACCEPTED or name in str(event.reason), (name, wrong, event)
            refused[name] += event.status is EventStatus.QUARANTINED

    assert {name for name, times in refused.items() if times < 8} == set(), refused


@pytest.mark.parametrize("whole", [tutorial(), platform(state="closed", type="chat")])
def test_a_wrong_type_in_any_field_of_a_conversation_is_quarantined_by_name(whole: dict[str, Any]) -> None:
    ignored = {"recordingState", "divisions", "selfUri"}
    for name in whole.keys() - ignored:
        refused = 0
        for wrong in WRONG:
            event = outcome(json.dumps(whole | {name: wrong}).encode())
            assert event.status is EventStatus.ACCEPTED or name in str(event.reason), (name, wrong, event)
            refused += event.status is EventStatus.QUARANTINED
        assert refused >= 8, name


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"to": [5]}, "to"),
        ({"to": [{"id": 5}]}, "id"),
        ({"from": {"id": []}}, "id"),
        ({"routing": {"queueId": 5}}, "queueId"),
        ({"participants": {}}, "participants"),
    ],
)
def test_a_wrong_type_deep_in_a_conversation_is_quarantined_by_name(change: dict[str, Any], named: str) -> None:
    assert named in str(outcome(json.dumps(tutorial(**change)).encode()).reason)


@pytest.mark.parametrize(
    "change", [{"id": 5}, {"id": "x" * 201}, {"source": 5}, {"source": "x" * 1001}, {"detail": 5}, {"detail": []}]
)
def test_a_wrong_envelope_is_quarantined_by_name(change: dict[str, Any]) -> None:
    event = outcome(json.dumps(enveloped("customer.end", END, **change)).encode())

    assert event.status is EventStatus.QUARANTINED
    assert next(iter(change)) in str(event.reason)


def test_an_organization_that_no_column_holds_is_quarantined() -> None:
    source = f"aws.partner/genesys.com/cloud/{'o' * 201}/crm-sync"

    assert "source" in str(outcome(json.dumps(enveloped("customer.end", END, source=source)).encode()).reason)


@pytest.mark.parametrize("name", ["conversationId", "sessionId", "externalContactId", "divisionId"])
def test_the_longest_id_is_accepted_and_a_longer_one_quarantined(name: str) -> None:
    data = detail("attributes", session="s" * 200, attributes={"a": "b"}, topicName=None)

    assert outcome(json.dumps(data | {name: "\U0001f44b" * 200}).encode()).status is EventStatus.ACCEPTED
    assert name in str(outcome(json.dumps(data | {name: "x" * 201}).encode()).reason)


@pytest.mark.parametrize("name", ["addressFrom", "addressTo", "ani", "dnis"])
def test_the_longest_address_is_accepted_and_any_worse_quarantined(name: str) -> None:
    assert accepted(detail("customer.end", **{name: "x" * ADDRESS_LENGTH}))
    for worse in ("x" * (ADDRESS_LENGTH + 1), 5, []):
        assert name in str(parsed(detail("customer.end", **{name: worse})).reason)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("nul \0 here", "nul \ufffd here"),
        ("\u202egnp.exe\u2066", "\u202egnp.exe\u2066"),
        ("zero\u200bwidth\ufeff", "zero\u200bwidth\ufeff"),
        ("e" + "\u0301" * 10_000, "e" + "\u0301" * 10_000),
        ("👩‍👩‍👧‍👦 🏴\U000e0067\U000e007f", "👩‍👩‍👧‍👦 🏴\U000e0067\U000e007f"),
        ("x" * 100_000, "x" * 100_000),
        ("=cmd|'/C calc'!A0", "=cmd|'/C calc'!A0"),
    ],
    ids=["nul", "bidi", "zero width", "combining", "emoji", "long", "formula"],
)
@pytest.mark.parametrize("escape", [True, False])
def test_odd_text_is_kept_as_it_is_but_for_nul(text: str, kept: str, escape: bool) -> None:
    raw = json.dumps(sample("wrapup") | {"wrapupNotes": text}, ensure_ascii=escape).encode()
    closure = closed_by(raw)

    check_fits(parsed(raw))
    assert (closure.wrapup_notes, closure.text_altered) == (kept, "\0" in text)


def test_a_note_longer_than_we_keep_is_quarantined() -> None:
    assert "wrapupNotes" in str(parsed(sample("wrapup") | {"wrapupNotes": "x" * 100_001}).reason)


@pytest.mark.parametrize(
    "at",
    [
        "0000-01-15T10:30:00Z", "0001-01-01T00:00:00+14:00", "10000-01-15T10:30:00Z", "9999-12-31T23:59:59-14:00",
        "2022-04-06T09:31:60Z", "2022-04-06T09:31:44", "2022-04-13T10:00:00Z", "2022-13-06T09:31:44Z", 0, 1649237504,
        9_999_999_999_999, 1649237504949.5, -1, 253_402_300_800_000, 2**53 - 1,
    ],
)  # fmt: skip
def test_an_impossible_instant_is_quarantined_by_name(at: Any) -> None:
    for body, name in ((END | {"eventTime": at}, "eventTime"), (tutorial(endTime=at), "endTime")):
        event = outcome(json.dumps(body).encode())
        assert event.status is EventStatus.QUARANTINED
        assert str(event.reason).startswith(f"{name} ")


@pytest.mark.parametrize("at", ["2022-04-06T23:31:44.949+14:00", "2022-04-05T19:31:44.949-14:00", "1649237504949"])
def test_an_instant_is_kept_in_utc_whatever_its_zone(at: str) -> None:
    assert accepted(END | {"eventTime": at}).event_id == accepted(END).event_id


def test_an_end_before_its_start_has_no_duration() -> None:
    closure = closed_by(tutorial(endTime="2022-04-05T11:00:00Z"))

    assert (closure.closed, closure.duration_ms) == (True, None)


@pytest.mark.parametrize("name", ["interactingDurationMs", "heldDurationMs"])
@pytest.mark.parametrize("value", [-1, 10**13, 2**53 - 1, 0.5])
def test_a_negative_or_endless_duration_is_quarantined(name: str, value: float) -> None:
    assert name in str(parsed(detail("user.end", **{name: value})).reason)


def test_words_that_we_do_not_know_never_cost_a_closure() -> None:
    new = {"mediaType": "HOLOGRAM", "messageType": "TELEPATHY", "direction": "SIDEWAYS", "disconnectType": "VANISHED"}
    closure = closed_by(END | new)

    assert closure.closed
    assert [closure.media_type, closure.message_type, closure.direction, closure.disconnect_type] == ["unknown"] * 4


@pytest.mark.parametrize("participants", [[], [{"id": str(number)} for number in range(500)]])
def test_a_conversation_may_have_no_participant_or_five_hundred(participants: list[Any]) -> None:
    assert closed_by(platform(participants=participants)).closed


def test_a_hundred_thousand_participants_are_quarantined() -> None:
    assert outcome(json.dumps(platform(participants=[{}] * 100_000)).encode()).status is EventStatus.QUARANTINED


@pytest.mark.parametrize("name", ["conversationId", "eventTime", "sessionId"])
def test_an_identity_that_stands_twice_is_quarantined(name: str) -> None:
    raw = json.dumps(END)[:-1] + f', "{name}": {json.dumps(END[name])}}}'

    assert outcome(raw.encode()).reason == f"the key {name} stands twice in one object"


def test_an_attribute_of_any_length_may_be_the_resolution() -> None:
    check_fits(accepted(detail("attributes", attributes={"resolutionStatus": "x" * 40_000})))


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_an_event_to_be_kept(body: bytes) -> None:
    found, _ = events.parse(body, context())

    for event in found:
        check_fits(event)


_HOSTILE = st.one_of(
    st.sampled_from([*WRONG, None, "\0", "x" * 201, "ß" * 300 + "@", 2**53, 1e999, 10**400, "9" * 400, float("nan")]),
    st.text(max_size=8),
    st.integers(),
    st.floats(),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
)
_REAL = [END, sample("customer.end.eventbridge"), sample("user.end"), sample("wrapup"), sample("flow.outcome"),
         tutorial(), platform(), *(detail(kind, **COMMON, **data) for kind, data in BY_KIND.items())]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from _places(item, (*path, name))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    value = json.loads(json.dumps(draw(st.sampled_from(_REAL))))
    for _ in range(draw(st.integers(0, 3))):
        *parents, name = draw(st.sampled_from(list(_places(value))))
        owner = value
        for parent in parents:
            owner = owner[parent]
        if draw(st.booleans()) or isinstance(owner, list):
            owner[name] = copy.deepcopy(draw(_HOSTILE))
        else:
            owner[draw(st.text(max_size=5) | st.sampled_from(sorted(COMMON)))] = owner.pop(name)
    raw = bytearray(json.dumps([value] if draw(st.booleans()) else value, ensure_ascii=draw(st.booleans())).encode(
        errors="surrogatepass"))  # fmt: skip
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw)


@settings(unhurried, max_examples=400)
@given(mutated())
def test_a_mutated_event_is_stored_as_it_fits_or_kept_to_be_looked_at(body: bytes) -> None:
    found, _ = events.parse(body, context())

    for event in found:
        check_fits(event)
    again, _ = events.parse(body, context())
    assert again == found
    assert merged(found + again) == merged(found)
