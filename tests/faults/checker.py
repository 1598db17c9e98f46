"""Judges a run by its history alone: what must hold whatever was killed, each rule under its name.

A target's CRM may see a version again only where somebody held it and died, or where its first answer was no success,
or came too late to be waited for.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.faults import history
from tests.faults.history import Line

ON_ITS_WAY_SECONDS = 0.5
"""How long a push may take from its worker to the CRM's door; it arrives also when its worker is dead by then."""

Found = Iterator[tuple[str, str]]
"""The subject, a conversation or an event, and a sentence about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that does not hold, for which conversation or event, and how that shows."""

    name: str
    subject: str
    told: str


class Run:
    """The lines of a history by their kind."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            self._lines[line["line"]].append(line)
        (run,) = self["run"]
        self.lease_seconds: float = run["lease_seconds"]
        self.push_deadline_seconds: float = run["push_deadline_seconds"]
        self.patience_seconds: float = run["patience_seconds"]
        self.stored = {event["event"] for event in self["event"]}
        self._kills: dict[tuple[str, str], list[float]] = defaultdict(list)
        for killed in sorted(self["killed"], key=lambda line: line["at"]):
            for held in killed["held"]:
                self._kills[held["target"], held["conversation_id"]].append(killed["at"])

    def __getitem__(self, line: str) -> list[Line]:
        return self._lines.get(line, [])

    def pushes(self) -> Mapping[tuple[str, str], list[Line]]:
        """Return the pushes by target and conversation, each in the order of arrival."""
        found: dict[tuple[str, str], list[Line]] = defaultdict(list)
        for push in sorted(self["push"], key=lambda line: line["number"]):
            if push["conversation_id"] is not None:
                found[push["target"], push["conversation_id"]].append(push)
        return found

    def was_interrupted(self, push: Line, *, before: Line) -> bool:
        """Whether somebody who held this push's delivery was killed, after sending it and before the other arrived."""
        sent_at, again_at = push["arrived_at"] - ON_ITS_WAY_SECONDS, before["arrived_at"]
        return any(sent_at <= at <= again_at for at in self._kills.get((push["target"], push["conversation_id"]), []))

    def was_given_up(self, push: Line, *, before: Line) -> bool:
        """Whether its worker had stopped waiting for this push's answer when the other arrived."""
        given_up_at = push["arrived_at"] + self.push_deadline_seconds - ON_ITS_WAY_SECONDS
        return bool(min(over_at(push), before["arrived_at"]) > given_up_at)


def check(path: Path) -> list[Violation]:
    """Return every violation in a history, in the order of the rules."""
    run = Run(list(history.read(path)))
    return [
        Violation(name=name, subject=subject, told=told) for name, rule in RULES.items() for subject, told in rule(run)
    ]


def _lost(run: Run) -> Found:
    for event in sorted({acked["event"] for acked in run["acked"]} - run.stored):
        yield event, "was acknowledged and is not stored"


def _invented(run: Run) -> Found:
    events, conversations = ({sent[name] for sent in run["sent"]} for name in ("event", "conversation_id"))
    for event in sorted(run.stored - events):
        yield event, "is stored and was never sent"
    for line in ("closure", "delivery", "record"):
        for conversation_id in sorted({row["conversation_id"] for row in run[line]} - conversations):
            yield conversation_id, f"has a {line} and was never sent"


def _stored_twice(run: Run) -> Found:
    for event, count in Counter(event["event"] for event in run["event"]).items():
        if count > 1:
            yield event, f"is stored {count} times"


def _merged_wrongly(run: Run) -> Found:
    newest: dict[str, str] = {}
    for sent in run["sent"]:
        if sent["event"] in run.stored:
            newest[sent["conversation_id"]] = max(sent["ended_at"], newest.get(sent["conversation_id"], ""))
    closures = {closure["conversation_id"]: closure["ended_at"] for closure in run["closure"]}
    for conversation_id, ended_at in newest.items():
        if closures.get(conversation_id) != ended_at:
            yield conversation_id, f"ended at {ended_at}, and its closure says {closures.get(conversation_id)}"


def _unpaid(run: Run) -> Found:
    deliveries = {(row["target"], row["conversation_id"]): row for row in run["delivery"]}
    for target in run["target"]:
        for closure in run["closure"]:
            row = deliveries.get((target["name"], closure["conversation_id"]))
            if row is None:
                yield closure["conversation_id"], f"is not owed to {target['name']}"
            elif not _is_paid(row, closure) and not (row["state"] == "dead" and row["last_error"]):
                yield closure["conversation_id"], f"is {row['state']} for {target['name']} and never paid"


def _is_paid(delivery: Line, closure: Line) -> bool:
    versions = (delivery["delivered_version"], delivery["desired_version"])
    return delivery["state"] == "delivered" and versions == (closure["version"], closure["version"])


def _doubled(run: Run) -> Found:
    effective = Counter((push["target"], push["push_key"]) for push in run["push"] if push["effective"])
    for (target, push_key), count in effective.items():
        if count > 1:
            yield push_key.partition(".")[0], f"took effect {count} times in {target} under one push key"


def _stale(run: Run) -> Found:
    closures = {closure["conversation_id"]: closure for closure in run["closure"]}
    records = {(record["target"], record["conversation_id"]): record for record in run["record"]}
    for delivery in run["delivery"]:
        closure = closures.get(delivery["conversation_id"])
        if closure is None or delivery["state"] != "delivered":
            continue
        record = records.get((delivery["target"], delivery["conversation_id"]))
        due = {name: closure[name] for name in ("version", "ended_at")}
        held = {name: record[name] for name in due} if record else None
        if due != held:
            yield delivery["conversation_id"], f"should be {due} in {delivery['target']} and is {held}"


def _version_fell(run: Run) -> Found:
    for (target, conversation_id), pushes in run.pushes().items():
        for earlier, later in pairwise(pushes):
            if later["version"] < earlier["version"]:
                yield conversation_id, f"went from version {earlier['version']} to {later['version']} for {target}"


def _leased_for_ever(run: Run) -> Found:
    began: dict[tuple[str, str], float] = {}
    longest: dict[tuple[str, str], float] = {}
    for sample in sorted(run["leases"], key=lambda line: line["at"]):
        for held in sample["held"]:
            lease = (held["conversation_id"], held["token"])
            longest[lease] = sample["at"] - began.setdefault(lease, held["until"] - run.lease_seconds)
    for (conversation_id, _), seconds in longest.items():
        if seconds > 2 * run.lease_seconds + run.patience_seconds:
            yield conversation_id, f"was under one lease for {seconds:.1f} s"
    for delivery in run["delivery"]:
        if delivery["claim_token"] is not None or delivery["lease_until"] is not None:
            yield delivery["conversation_id"], "is leased at the end, when nobody works"


def _unsound(run: Run) -> Found:
    if not run["store"]:
        yield "the store", "was not examined"
    for store in run["store"]:
        for problem in store["problems"]:
            yield "the store", problem


def _repeated(run: Run) -> Found:
    for (target, conversation_id), pushes in run.pushes().items():
        latest: dict[int, Line] = {}
        for push in pushes:
            earlier = latest.get(push["version"])
            if earlier is not None and not _may_be_repeated(run, earlier, by=push):
                yield conversation_id, f"was pushed to {target} twice at version {push['version']} without a reason"
            latest[push["version"]] = push


def _may_be_repeated(run: Run, push: Line, *, by: Line) -> bool:
    is_success = push["status"] is not None and push["status"] < 300
    return not is_success or run.was_interrupted(push, before=by) or run.was_given_up(push, before=by)


def _overlapped(run: Run) -> Found:
    for (target, conversation_id), pushes in run.pushes().items():
        longest = None
        for push in pushes:
            if longest is not None and _overlap(run, longest, by=push):
                yield conversation_id, f"had two pushes to {target} under way at once"
            longest = push if longest is None or over_at(push) > over_at(longest) else longest


def _overlap(run: Run, push: Line, *, by: Line) -> bool:
    if by["arrived_at"] >= over_at(push):
        return False
    return not run.was_interrupted(push, before=by) and not run.was_given_up(push, before=by)


def over_at(push: Line) -> float:
    """Return when a push was over: never, as long as it is not answered."""
    return float("inf") if push["answered_at"] is None else push["answered_at"]


RULES: Mapping[str, Callable[[Run], Found]] = {
    "lost": _lost,
    "invented": _invented,
    "stored twice": _stored_twice,
    "merged wrongly": _merged_wrongly,
    "unpaid": _unpaid,
    "doubled": _doubled,
    "stale": _stale,
    "version fell": _version_fell,
    "leased for ever": _leased_for_ever,
    "unsound": _unsound,
    "repeated": _repeated,
    "overlapped": _overlapped,
}
