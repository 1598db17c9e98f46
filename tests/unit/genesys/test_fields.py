"""Single fields: what is read, what is refused, and that a refusal names the field."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_sync import clock
from crm_sync.genesys import fields
from crm_sync.genesys.payload import Unreadable

unhurried = settings(deadline=None)
LIMIT = datetime(2024, 6, 1, tzinfo=UTC)
UPPER = "2F7BF00A-0FC2-4D6A-9B56-92238191433E"


def instant(value: Any) -> datetime | None:
    return fields.instant({"at": value}, "at", not_after=LIMIT)


@pytest.mark.parametrize("value", [None, "", " ", "\t\u3000"])
def test_an_absent_null_or_blank_text_is_none(value: str | None) -> None:
    assert fields.text({"name": value}, "name") is None
    assert fields.text({}, "name") is None


def test_a_text_keeps_every_character() -> None:
    assert fields.text({"name": " Zoë\u202e👋🏽 "}, "name") == " Zoë\u202e👋🏽 "


@pytest.mark.parametrize("length", [0, 1, 200])
def test_a_text_may_be_as_long_as_its_column_and_no_longer(length: int) -> None:
    assert fields.text({"name": "x" * length}, "name") == ("x" * length or None)
    with pytest.raises(Unreadable, match="name is longer than 200 characters"):
        fields.text({"name": "x" * 201}, "name")


@pytest.mark.parametrize(
    "read",
    [
        fields.text,
        fields.identifier,
        lambda data, name: fields.word(data, name, fields.MEDIA_TYPES),
        fields.identifiers,
        fields.mapping,
        fields.milliseconds,
        lambda data, name: fields.instant(data, name, not_after=LIMIT),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_name_of_the_field(read: Any) -> None:
    refused = 0
    for value in (True, False, 0, 7, 1.5, "word", [], [1], [None, {}], {}, {"a": 1}, [["x"]]):
        try:
            read({"the_field": value}, "the_field")
        except Unreadable as error:
            assert "the_field" in str(error)
            refused += 1

    assert refused >= 7


def test_a_uuid_is_read_in_lower_case_and_any_other_id_as_it_is() -> None:
    assert fields.identifier({"id": UPPER}, "id") == UPPER.lower()
    assert fields.identifier({"id": "User-456"}, "id") == "User-456"
    assert fields.identifier({"id": UPPER + "X"}, "id") == UPPER + "X"


def test_a_list_of_ids_is_read_without_its_blanks() -> None:
    assert fields.identifiers({"ids": ["A", None, "", UPPER]}, "ids") == ["A", UPPER.lower()]
    assert fields.identifiers({"ids": None}, "ids") == fields.identifiers({}, "ids") == []


def test_a_wrong_member_of_a_list_is_named_with_its_place() -> None:
    with pytest.raises(Unreadable, match=r"ids\[1\] is not a text"):
        fields.identifiers({"ids": ["a", 5]}, "ids")


@pytest.mark.parametrize(
    ("raw", "word"), [("VOICE", "voice"), ("voice", "voice"), ("UNKNOWN", "unknown"), ("HOLOGRAM", "unknown")]
)
def test_a_word_is_lower_case_and_a_new_one_unknown(raw: str, word: str) -> None:
    assert fields.word({"mediaType": raw}, "mediaType", fields.MEDIA_TYPES) == word


@pytest.mark.parametrize("value", [0, 1, 60_000, 60_000.0, fields.LONGEST_MS])
def test_a_duration_is_a_whole_number(value: float) -> None:
    found = fields.milliseconds({"ms": value}, "ms")

    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("value", [-1, 0.5, True, "60000", fields.LONGEST_MS + 1, 2**53 - 1])
def test_a_negative_broken_or_endless_duration_is_refused(value: Any) -> None:
    with pytest.raises(Unreadable, match=r"^ms "):
        fields.milliseconds({"ms": value}, "ms")


@pytest.mark.parametrize(
    "value",
    [
        1705314600123,
        1705314600123.0,
        "1705314600123",
        " 1705314600123 ",
        "2024-01-15T10:30:00.123Z",
        "2024-01-15T10:30:00.123+00:00",
        "2024-01-15T10:30:00.123+0000",
        "2024-01-15T10:30:00.123999Z",
        "2024-01-15T10:30:00.123456789Z",
        "2024-01-16T00:30:00.123+14:00",
        "2024-01-14T20:30:00.123-14:00",
        "2024-01-15 10:30:00.123-00:00",
    ],
)
def test_an_instant_is_the_same_in_every_notation(value: Any) -> None:
    assert instant(value) == datetime(2024, 1, 15, 10, 30, 0, 123_000, tzinfo=UTC)


def test_an_instant_is_aware_and_in_utc() -> None:
    found = instant("2024-01-15T12:30:00+02:00")

    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        True,
        1705314600123.5,
        "",
        "yesterday",
        "2024-01-15",
        "2024-01-15T10:30:00",
        "2024-01-15T10:30:60Z",
        "2024-02-30T10:30:00Z",
        "2024-01-15T25:00:00Z",
        "2024-01-15T10:30:00+24:00",
        "0000-01-15T10:30:00Z",
        "10000-01-15T10:30:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9" * 400,
        "9" * 5000,
        10**15,
        -(10**15),
        "١٧٠٥٣١٤٦٠٠١٢٣",
        {},
        [1705314600123],
    ],
)
def test_what_is_no_instant_is_refused_by_name(value: Any) -> None:
    with pytest.raises(Unreadable, match="at is not an instant"):
        instant(value)


@pytest.mark.parametrize("value", [0, 1705314600, "1705314600", -1, "1989-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z"])
def test_seconds_taken_for_milliseconds_and_clocks_at_zero_are_refused(value: Any) -> None:
    with pytest.raises(Unreadable, match="at lies before 1990 or in the future"):
        instant(value)


def test_an_instant_may_lie_on_the_limit_and_not_behind_it() -> None:
    assert instant("2024-06-01T00:00:00.000Z") == LIMIT
    with pytest.raises(Unreadable, match="at lies before 1990 or in the future"):
        instant("2024-06-01T00:00:00.001Z")
    with pytest.raises(Unreadable, match="at lies before 1990 or in the future"):
        instant("9999-12-31T23:59:59Z")


def test_midnight_written_as_24_is_refused_or_is_the_next_day() -> None:
    try:
        found = instant("2024-01-15T24:00:00Z")
    except Unreadable:
        return  # Python before 3.14.
    assert found == datetime(2024, 1, 16, tzinfo=UTC)


@unhurried
@given(st.one_of(st.text(), st.integers(), st.floats(), st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")))
def test_any_value_is_an_instant_in_bounds_or_refused(value: Any) -> None:
    # A decoder would have refused what is not finite.
    if isinstance(value, float) and value - value != 0:
        return
    try:
        found = instant(value)
    except Unreadable:
        return
    assert found is not None
    assert datetime(1990, 1, 1, tzinfo=UTC) <= found <= LIMIT


@unhurried
@given(
    st.datetimes(min_value=datetime(1990, 1, 2), max_value=datetime(2024, 5, 30)),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_a_written_instant_is_read_to_the_millisecond_whatever_its_zone(local: datetime, offset: int) -> None:
    written = local.replace(tzinfo=timezone(timedelta(minutes=offset)))

    assert instant(written.isoformat()) == clock.from_ms(clock.to_ms(written))
