"""What was measured: rates side by side with their yardstick, told as a table and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

HEADINGS = ("what", "engine", "ours", "yardstick", "ratio", "lowest to highest", "beside")


class Wrong(Exception):
    """A figure that must not be reported, for what was measured did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One thing on one engine, measured several times, each time beside its yardstick.

    Both are so many in a second. `beside` is what else a reader wants to know, by name and unit.
    """

    what: str
    engine: str
    ours: Sequence[float]
    yardsticks: Sequence[float]
    beside: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Ours as a share of the yardstick, in the order in which they were measured."""
        return [ours / yardstick for ours, yardstick in zip(self.ours, self.yardsticks, strict=True)]

    @property
    def ratio(self) -> float:
        """The median: one repetition that was disturbed changes nothing."""
        return median(self.ratios)

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "what": self.what,
            "engine": self.engine,
            "ratio": round(self.ratio, 3),
            "ratios": [round(ratio, 3) for ratio in self.ratios],
            "ours_per_second": round(median(self.ours), 1),
            "yardstick_per_second": round(median(self.yardsticks), 1),
            "beside": {name: round(value, 2) for name, value in self.beside.items()},
        }


def as_table(measured: Sequence[Measured]) -> str:
    """Return the lines of a table for people."""
    rows = [HEADINGS, *(_cells(each) for each in measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _cells(each: Measured) -> tuple[str, ...]:
    return (
        each.what,
        each.engine,
        f"{median(each.ours):,.0f}/s",
        f"{median(each.yardsticks):,.0f}/s",
        f"{each.ratio:.2f}",
        f"{min(each.ratios):.2f} to {max(each.ratios):.2f}",
        ", ".join(f"{name} {value:,.1f}" for name, value in each.beside.items()),
    )
