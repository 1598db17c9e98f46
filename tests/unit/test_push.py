"""What a push promises, whatever its adapter does: an end for every claim, and calls only while they are of use."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from crm_sync.adapters.contract import Outcome, Prepared, Push, Receipt
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.closure import Closure
from crm_sync.errors import Fault, Kind, failure
from crm_sync.push import Channel, Entry, Pushed, push, sort_out
from crm_sync.settings_targets import TargetSettings
from crm_sync.store.outbox import Claim, Settlement

OF_ALL = [Kind.RETRYABLE, Kind.RATE_LIMITED, Kind.QUOTA, Kind.AUTH, Kind.CONFIG, Kind.AMBIGUOUS]
OF_A_RECORD = [Kind.DATA, Kind.CONFLICT, Kind.GONE]


class Itself(BaseException):
    """An exception of an adapter's own, of no family that anybody catches."""


class CRM(MemoryAdapter):
    """Counts its calls, and answers each as `answer` says."""

    def __init__(self, answer: Callable[[Sequence[Prepared]], Any] | None = None, *, is_atomic: bool = False) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, batch_atomic=is_atomic)
        self.calls: list[list[str]] = []
        self._answer = answer or super().push

    def push(self, batch: Sequence[Prepared]) -> Any:
        """Note the call, and answer it."""
        self.calls.append([entry.conversation_id for entry in batch])
        return self._answer(batch)


def fault(kind: Kind) -> Fault:
    """Return a fault of this kind."""
    return Fault(kind=kind, code="some_code", message="It failed.")


def refusing(kind: Kind, *names: str) -> Callable[[Sequence[Prepared]], list[Receipt]]:
    """Return an answer that creates all but these."""

    def answer(batch: Sequence[Prepared]) -> list[Receipt]:
        return [
            Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=fault(kind))
            if entry.conversation_id in names
            else Receipt(push_key=entry.push_key, outcome=Outcome.CREATED)
            for entry in batch
        ]

    return answer


def raising(error: BaseException) -> Callable[[Sequence[Prepared]], list[Receipt]]:
    """Return an answer that is none."""

    def answer(_: Sequence[Prepared]) -> list[Receipt]:
        raise error

    return answer


def claims(*names: str, lost_leases: int = 0) -> list[Claim]:
    """Return claims of these conversations."""
    return [
        Claim(delivery_id=number, token="t" * 32, closure=Closure(conversation_id=name), version=1, attempts=1,
              lost_leases=lost_leases, payload_hash=None, push_again=False, redelivery=0, crm_record_id=None)
        for number, name in enumerate(names)
    ]  # fmt: skip


def pushed(crm: CRM, *names: str, batch: int = 100, may_call: Callable[[], bool] = lambda: True) -> Pushed:
    """Push these conversations."""
    channel = Channel(name="crm", adapter=crm, settings=TargetSettings(adapter="memory", batch=batch))
    settled, entries = sort_out(channel, claims(*names))
    found = push(channel, entries, may_call)
    found.settlements += settled
    return found


def states(found: Pushed) -> dict[str, str]:
    """Return what became of each conversation."""
    said = {s.claim.closure.conversation_id: s.state for s in found.settlements}
    return said | {claim.closure.conversation_id: "unsent" for claim in found.unsent}


def failed(found: Pushed) -> Settlement:
    """Return the first settlement that failed."""
    return next(s for s in found.settlements if s.outcome == "failed")


def test_batch_by_batch_is_called_and_counted() -> None:
    found = pushed(crm := CRM(), "a", "b", "c", "d", "e", batch=2)

    assert crm.calls == [["a", "b"], ["c", "d"], ["e"]]
    assert set(states(found).values()) == {"delivered"}
    assert (found.sent, found.is_answered, found.faults, found.unsent) == (5, True, [], [])


@pytest.mark.parametrize("kind", OF_ALL)
@pytest.mark.parametrize("is_raised", [True, False], ids=["raised", "in each receipt"])
def test_what_concerns_every_record_leaves_the_other_batches_unsent(kind: Kind, is_raised: bool) -> None:
    answer = raising(failure(fault(kind))) if is_raised else refusing(kind, "a", "b", "c", "d")
    found = pushed(crm := CRM(answer), "a", "b", "c", "d", batch=2)

    assert crm.calls == [["a", "b"]]
    assert states(found) == {"a": "pending", "b": "pending", "c": "unsent", "d": "unsent"}
    assert found.sent == 2


@pytest.mark.parametrize("kind", OF_A_RECORD)
def test_what_concerns_single_records_stops_nothing(kind: Kind) -> None:
    found = pushed(crm := CRM(refusing(kind, "a", "b")), "a", "b", "c", "d", batch=2)

    assert crm.calls == [["a", "b"], ["c", "d"]]
    assert states(found) | {"a": "?", "b": "?"} == {"a": "?", "b": "?", "c": "delivered", "d": "delivered"}


@pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.QUOTA])
def test_a_crm_that_throttles_a_part_of_a_batch_is_sent_no_other_batch(kind: Kind) -> None:
    found = pushed(crm := CRM(refusing(kind, "b")), "a", "b", "c", batch=2)

    assert crm.calls == [["a", "b"]]
    assert states(found) == {"a": "delivered", "b": "pending", "c": "unsent"}


@pytest.mark.parametrize("kind", Kind)
def test_only_a_crm_that_gave_no_answer_at_all_counts_as_away(kind: Kind) -> None:
    is_away = kind in (Kind.RETRYABLE, Kind.AMBIGUOUS)

    assert pushed(CRM(refusing(kind, "a", "b")), "a", "b").is_answered is not is_away
    assert pushed(CRM(refusing(kind, "a")), "a", "b").is_answered is True
    assert pushed(CRM(raising(failure(fault(kind)))), "a", "b").is_answered is not is_away


def test_a_crm_that_answered_once_in_a_push_does_not_count_as_away() -> None:
    found = pushed(CRM(refusing(Kind.RETRYABLE, "b")), "a", "b", batch=1)

    assert states(found) == {"a": "delivered", "b": "pending"}
    assert found.is_answered is True


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), Itself()], ids=repr)
def test_whatever_an_adapter_raises_is_a_defect_which_tells_nothing_of_the_crm(error: BaseException) -> None:
    found = pushed(crm := CRM(raising(error)), "a", "b", "c", batch=2)

    assert crm.calls == [["a", "b"], ["c"]]
    assert set(states(found).values()) == {"pending"}
    assert (failed(found).kind, failed(found).code) == ("retryable", type(error).__name__)
    assert (found.is_answered, found.sent) == (None, 3)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), Itself()], ids=repr)
def test_a_record_that_cannot_be_prepared_harms_no_other_and_is_not_sent(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = MemoryAdapter.prepare

    def prepare_others(self: MemoryAdapter, push: Push) -> Prepared:
        if push.conversation_id == "a":
            raise error
        return prepare(self, push)

    monkeypatch.setattr(CRM, "prepare", prepare_others, raising=False)
    found = pushed(crm := CRM(), "a", "b")

    assert crm.calls == [["b"]]
    assert states(found) == {"a": "pending", "b": "delivered"}
    assert (failed(found).sent, found.sent) == (False, 1)


def test_what_was_prepared_as_nothing_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CRM, "prepare", lambda self, push: None, raising=False)
    found = pushed(crm := CRM(), "a")

    assert crm.calls == []
    assert (states(found), failed(found).code) == ({"a": "pending"}, "TypeError")


def odd(**values: Any) -> Callable[[Sequence[Prepared]], list[Receipt]]:
    """Return an answer whose first receipt has these values."""

    def answer(batch: Sequence[Prepared]) -> list[Receipt]:
        first, *others = refusing(Kind.DATA)(batch)
        return [replace(first, **values), *others]

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda batch: iter(refusing(Kind.DATA)(batch)),
        lambda batch: None,
        lambda batch: {entry.push_key: "created" for entry in batch},
        odd(outcome="stored"),
        odd(outcome="failed"),
        odd(outcome=Outcome.FAILED, fault="It failed."),
        odd(outcome=Outcome.FAILED, fault=replace(fault(Kind.DATA), kind="a kind of the adapter's own")),
        odd(outcome=Outcome.FAILED, fault=replace(fault(Kind.RATE_LIMITED), retry_at=12.5)),
        raising(failure(replace(fault(Kind.RATE_LIMITED), retry_at=12.5))),  # type: ignore[arg-type]
    ],
    ids=["an iterator", "nothing", "a mapping", "an outcome of its own", "a word for failed", "a word for a fault",
         "a kind of its own", "a number for an instant", "a failure with a number for an instant"],
)  # fmt: skip
def test_an_answer_that_breaks_the_contract_is_a_defect_and_ends_every_claim(answer: Any) -> None:
    found = pushed(CRM(answer), "a", "b")

    assert states(found) == {"a": "pending", "b": "pending"}
    assert {s.kind for s in found.settlements} == {"retryable"}
    assert found.is_answered is None


def test_a_refused_atomic_batch_is_halved_until_the_culprit_stands_alone_and_each_call_counts() -> None:
    def answer(batch: Sequence[Prepared]) -> list[Receipt]:
        is_refused = any(entry.conversation_id == "c" for entry in batch)
        return refusing(Kind.DATA, *(entry.conversation_id for entry in batch) if is_refused else ())(batch)

    found = pushed(crm := CRM(answer, is_atomic=True), "a", "b", "c", "d", "e", batch=4)

    assert crm.calls == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"], ["c"], ["d"], ["e"]]
    assert states(found) == {"a": "delivered", "b": "delivered", "c": "dead", "d": "delivered", "e": "delivered"}
    assert found.sent == 4 + 2 + 2 + 1 + 1 + 1


def test_no_call_begins_once_there_is_no_time_left_for_it() -> None:
    times = itertools.count()
    found = pushed(crm := CRM(), "a", "b", "c", batch=1, may_call=lambda: next(times) < 2)

    assert crm.calls == [["a"], ["b"]]
    assert states(found) == {"a": "delivered", "b": "delivered", "c": "unsent"}


def test_what_took_its_worker_down_is_not_even_prepared() -> None:
    channel = Channel(name="crm", adapter=CRM(raising(Itself())), settings=TargetSettings(adapter="memory"))
    (dead,), entries = sort_out(channel, claims("a", lost_leases=4))
    (alive,) = sort_out(channel, claims("a", lost_leases=3))[1]

    assert (dead.state, dead.code, dead.sent, entries) == ("dead", "took_its_worker_down", False, [])
    assert isinstance(alive, Entry)
