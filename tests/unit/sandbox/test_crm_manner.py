"""The pretend CRM's gate: a burst at once, then so many a second, and who comes too early learns when to come."""

import pytest
from pydantic import ValidationError

from crm_sync.sandbox.crm_manner import CRMManner, Gate


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_without_a_rate_everything_is_let_in() -> None:
    gate = Gate(CRMManner())

    assert [gate.let_in() for _ in range(100)] == [None] * 100


def test_a_burst_is_let_in_at_once_and_then_one_for_each_interval() -> None:
    watch = Watch()
    gate = Gate(CRMManner(rate=4, burst=3), monotonic=watch)
    at_once = [gate.let_in() for _ in range(5)]
    later = []
    for _ in range(4):
        watch.seconds += 0.25
        later += [gate.let_in(), gate.let_in()]

    assert at_once == [None, None, None, 1, 1]
    assert later == [None, 1] * 4


def test_a_long_rest_earns_no_more_than_a_burst() -> None:
    watch = Watch()
    gate = Gate(CRMManner(rate=10, burst=2), monotonic=watch)
    watch.seconds += 3600

    assert [gate.let_in() for _ in range(3)] == [None, None, 1]


def test_who_comes_too_early_is_told_when_one_may_come() -> None:
    watch = Watch()
    gate = Gate(CRMManner(rate=0.25), monotonic=watch)
    gate.let_in()
    told = gate.let_in()
    assert told is not None
    watch.seconds += told

    assert told == 4
    assert gate.let_in() is None


def test_another_manner_holds_at_once() -> None:
    gate = Gate(CRMManner(rate=0.01))
    gate.let_in()
    gate.behave(CRMManner(rate=0.01, burst=2))

    assert [gate.let_in() is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("manner", [{"rate": 0}, {"burst": 0}, {"latency_seconds": -1}, {"latency": 1}])
def test_a_manner_that_makes_no_sense_is_refused(manner: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CRMManner.model_validate(manner)
