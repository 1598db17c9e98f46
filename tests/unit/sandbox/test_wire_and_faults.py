"""The strict JSON of the sandbox, and its queue of faults."""

import pytest
from pydantic import ValidationError

from crm_sync.sandbox.faults import FaultOrder, Faults
from crm_sync.sandbox.genesys_state import GenesysFault
from crm_sync.sandbox.wire import MalformedBody, compact, read_instant, read_object


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":"\xff"}', b"[" * 100_000],
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_object(body)


def test_compact_json_has_no_blanks_and_no_escapes() -> None:
    assert compact({"a": [1, "ü<&>"]}) == '{"a":[1,"ü<&>"]}'.encode()


@pytest.mark.parametrize("text", [None, 5, "", "soon", "2024-01-15T10:30:00", "0001-01-01T00:00:00+01:00"])
def test_an_instant_needs_its_zone_and_a_year_that_exists(text: object) -> None:
    assert read_instant(text) is None


def test_a_fault_happens_as_often_as_it_was_asked_for() -> None:
    faults: Faults[FaultOrder] = Faults()
    faults.add(FaultOrder(times=2))

    taken = [faults.take(lambda _: True) is not None for _ in range(3)]

    assert taken == [True, True, False]


def test_a_fault_without_a_number_happens_until_it_is_cleared() -> None:
    faults: Faults[FaultOrder] = Faults()
    faults.add(FaultOrder(times=None))

    assert all(faults.take(lambda _: True) for _ in range(5))

    faults.clear()
    assert faults.take(lambda _: True) is None


def test_the_oldest_fault_that_fits_comes_first_and_the_others_wait() -> None:
    faults: Faults[GenesysFault] = Faults()
    for status in (500, 429, 429):
        faults.add(GenesysFault(status=status, path="/a" if status == 500 else "/b"))

    taken = faults.take(lambda fault: fault.path == "/b")

    assert taken is not None
    assert taken.status == 429
    assert [fault["status"] for fault in faults.waiting()] == [500, 429]


def test_a_fault_may_spare_all_but_every_third_that_it_fits() -> None:
    faults: Faults[GenesysFault] = Faults()
    faults.add(GenesysFault(status=500, path="/a", times=2, every=3))

    paths = ["/a", "/b", "/b"] * 8
    hit = [number for number, path in enumerate(paths) if faults.take(lambda fault, path=path: fault.path == path)]

    assert hit == [6, 15]
    assert faults.waiting() == []


def test_a_fault_that_spares_a_push_leaves_it_to_the_next_fault() -> None:
    faults: Faults[GenesysFault] = Faults()
    faults.add(GenesysFault(status=500, every=2))
    faults.add(GenesysFault(status=429, times=None))

    taken = [faults.take(lambda _: True) for _ in range(3)]

    assert [fault.status for fault in taken if fault] == [429, 500, 429]


@pytest.mark.parametrize("order", [{"times": 0}, {"every": 0}, {"status": 200}, {"delay_seconds": -1}, {"stauts": 500}])
def test_a_fault_that_makes_no_sense_is_refused(order: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GenesysFault.model_validate(order)
