"""Exact percentiles of more numbers than should be held, by reading them twice instead of sorting them.

SQLite keeps what it sorts in memory, in the builds that we use: a quarter's closures would fill a web process. The
first reading counts numbers by their leading digits, the second counts those that a percentile may be.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

Series = TypeVar("Series")

_LEADING_BITS = 11


def of_all(
    read: Callable[[], Iterable[tuple[Series, int]]], quantiles: Sequence[float]
) -> dict[Series, tuple[int, list[float]]]:
    """Return of each series how many numbers it has, and its quantiles, interpolated as `percentile_cont` does it.

    `read` is called twice, and must tell the same both times.
    """
    coarse: defaultdict[Series, Counter[int]] = defaultdict(Counter)
    for series, number in read():
        coarse[series][_floor(number)] += 1
    wanted = {series: _wanted(counts, quantiles) for series, counts in coarse.items()}
    fine: defaultdict[Series, Counter[int]] = defaultdict(Counter)
    for series, number in read():
        if _floor(number) in wanted[series]:
            fine[series][number] += 1
    return {
        series: (counts.total(), [_quantile(counts, fine[series], quantile) for quantile in quantiles])
        for series, counts in coarse.items()
    }


def _floor(number: int) -> int:
    """Return the number with its leading binary digits alone: never more than it, and of a larger one never less."""
    shift = max(0, number.bit_length() - _LEADING_BITS)
    return number >> shift << shift


def _wanted(counts: Counter[int], quantiles: Sequence[float]) -> set[int]:
    ranks = [rank for quantile in quantiles for rank in _ranks(counts.total(), quantile)]
    return {_at(counts, rank)[0] for rank in ranks}


def _quantile(coarse: Counter[int], fine: Counter[int], quantile: float) -> float:
    place = quantile * (coarse.total() - 1)
    lower, upper = (_number(coarse, fine, rank) for rank in _ranks(coarse.total(), quantile))
    return lower + (place - math.floor(place)) * (upper - lower)


def _ranks(count: int, quantile: float) -> tuple[int, int]:
    place = quantile * (count - 1)
    return math.floor(place), math.ceil(place)


def _number(coarse: Counter[int], fine: Counter[int], rank: int) -> int:
    floor, within = _at(coarse, rank)
    return _at({number: count for number, count in fine.items() if _floor(number) == floor}, within)[0]


def _at(counts: Mapping[int, int], rank: int) -> tuple[int, int]:
    """Return the number at a rank, and how many of the same kind stand before that rank."""
    before = 0
    for number in sorted(counts):
        if rank < before + counts[number]:
            return number, rank - before
        before += counts[number]
    raise IndexError(rank)
