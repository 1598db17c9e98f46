"""Percentiles by reading twice are those of the sorted numbers."""

import math
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from crm_sync.store import percentiles

QUANTILES = (0.0, 0.5, 0.95, 0.99, 1.0)
NUMBERS = st.one_of(st.integers(-5000, 5000), st.integers(-(10**15), 10**15), st.sampled_from([0, 1, 10**9]))


@given(st.lists(st.tuples(st.sampled_from("ab"), NUMBERS)))
def test_they_are_those_of_the_sorted_numbers(told: list[tuple[str, int]]) -> None:
    def read() -> Iterator[tuple[str, int]]:
        return iter(told)

    found = percentiles.of_all(read, QUANTILES)

    for series in {name for name, _ in told}:
        ordered = sorted(number for name, number in told if name == series)
        assert found.pop(series) == (len(ordered), [interpolated(ordered, quantile) for quantile in QUANTILES])
    assert found == {}


def interpolated(ordered: list[int], quantile: float) -> float:
    place = quantile * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (place - math.floor(place)) * (above - below)
