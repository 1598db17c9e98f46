"""A run in words: what happened, and what the history has about each violation."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.faults import history
from tests.faults.checker import ON_ITS_WAY_SECONDS, Violation
from tests.faults.history import Line

MOST_SHOWN = 2


def summary(lines: Sequence[Line]) -> str:
    """Return what happened, in a few words."""
    counts = Counter(line["line"] for line in lines)
    kills = [line for line in lines if line["line"] == "killed"]
    workers = [line["held"] for line in kills if line["process"] == "worker"]
    return "; ".join(
        (
            f"{lines[0]['engine']}: {len(workers)} workers killed, {sum(map(bool, workers))} of them holding something,"
            f" {sum(map(len, workers))} deliveries in all",
            f"gunicorn killed {len(kills) - len(workers)} times, with {_cut(lines)} posts under way",
            f"{counts['sent']} posts, {counts['acked']} acknowledged, {counts['event']} events stored",
            f"{counts['closure']} closures, {counts['push']} pushes, {repeats(lines)} repeated, the slowest"
            f" {_slowest_repair(lines):.1f} s after its kill",
        )
    )


def repeats(lines: Sequence[Line]) -> int:
    """Return how many pushes arrived again under the same key."""
    arrivals = Counter(line["push_key"] for line in lines if line["line"] == "push")
    return sum(count - 1 for count in arrivals.values())


def shown(path: Path, violations: Sequence[Violation]) -> str:
    """Return how often each rule was broken, and its first violations with what the history has about them."""
    counts = Counter(one.name for one in violations)
    parts = [f"{path}: " + ", ".join(f"{name} {count} times" for name, count in counts.items())]
    for name in counts:
        for one in [one for one in violations if one.name == name][:MOST_SHOWN]:
            parts.append("\n".join((f"{one.name}: {one.subject} {one.told}", *history.about(path, one.subject))))
    return "\n\n".join(parts)


def _cut(lines: Sequence[Line]) -> int:
    """Return how many posts were under way when gunicorn was killed, and then failed."""
    kills = [line["at"] for line in lines if line["line"] == "killed" and line["process"] != "worker"]
    sent: dict[str, float] = {}
    cut = 0
    for line in lines:
        if line["line"] == "sent":
            sent[line["event"]] = line["at"]
        elif line["line"] == "unanswered":
            cut += any(sent[line["event"]] < at < line["at"] for at in kills)
    return cut


def _slowest_repair(lines: Sequence[Line]) -> float:
    """Return the longest time from a kill to the next push of something that was held."""
    pushed: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line["line"] == "push":
            pushed[line["conversation_id"]].append(line["arrived_at"])
    repairs = []
    for kill in (line for line in lines if line["line"] == "killed"):
        for held in kill["held"]:
            later = (at - kill["at"] for at in pushed[held["conversation_id"]])
            # What the dead worker had sent may arrive a moment after its death, and repairs nothing.
            repairs.append(min((seconds for seconds in later if seconds > ON_ITS_WAY_SECONDS), default=0.0))
    return max(repairs, default=0.0)
