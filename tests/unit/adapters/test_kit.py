"""The contract kit passes for the adapter that keeps every promise, and fails for each that breaks one."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from crm_sync.adapters.contract import Prepared, Receipt
from crm_sync.adapters.memory import Failing, MemoryAdapter
from crm_sync.errors import Fault, Kind
from crm_sync.testing.contract import TEXTS, AdapterContract, Held, ReadBack, Refused
from crm_sync.testing.core import make_push, settle
from tests.unit.adapters import broken

LOST = Failing(fault=Fault(kind=Kind.AMBIGUOUS, code="timeout", message="No answer."), is_stored=True)
REFUSED = Fault(kind=Kind.DATA, code="refused", message="Refused.", field="wrapup_notes")


class Refusing(MemoryAdapter):
    """A memory that refuses one text, as a picklist would."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        self.refused |= {
            entry.conversation_id: REFUSED for entry in batch if entry.record.get("wrapup_notes") == "refuse me"
        }
        return super().push(batch)


class Atomic(broken.Blaming):
    """A memory that refuses a whole batch too, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, batch_atomic=True)


def reader(adapter: MemoryAdapter) -> ReadBack:
    def read_back(conversation_id: str | None = None) -> list[Held]:
        return [
            Held(conversation_id=key.split(" ")[0], version=stored.version, fields=stored.fields)
            for key, stored in adapter.records.items()
            if conversation_id in (None, key.split(" ")[0])
        ]

    return read_back


class TestMemory(AdapterContract):
    """The working fake keeps every promise."""

    @pytest.fixture
    def adapter(self) -> MemoryAdapter:
        return Refusing()

    @pytest.fixture
    def read_back(self, adapter: MemoryAdapter) -> ReadBack:
        return reader(adapter)

    @pytest.fixture
    def refused(self) -> Refused:
        return Refused(fields={"wrapup_notes": "refuse me"}, field="wrapup_notes")

    @pytest.fixture
    def lose_answer(self, adapter: MemoryAdapter) -> Callable[[], None]:
        return lambda: adapter.script.append(LOST)

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return [broken.SECRET]


class TestAtomicMemory(TestMemory):
    """The same, where one refused record refuses its batch."""

    @pytest.fixture
    def adapter(self) -> MemoryAdapter:
        return Atomic()


BREACHES: list[tuple[type[MemoryAdapter], str]] = [
    (broken.Doubling, "test_the_same_push_twice_is_one_record"),
    (broken.Doubling, "test_eight_threads_with_one_new_key_make_one_record"),
    (broken.Doubling, "test_a_lost_answer_leaves_one_record"),
    (broken.Boasting, "test_the_same_push_twice_is_one_record"),
    (broken.Boasting, "test_an_older_version_never_wins"),
    (broken.Forgetful, "test_an_older_version_never_wins"),
    (broken.Stubborn, "test_a_newer_version_replaces_an_older_one"),
    (broken.Stubborn, "test_null_empties_a_field"),
    (broken.Shuffling, "test_receipts_stand_in_the_order_of_their_entries"),
    (broken.Dropping, "test_receipts_stand_in_the_order_of_their_entries"),
    (broken.Blaming, "test_one_refused_record_costs_only_itself"),
    (broken.Guessing, "test_prepare_is_pure"),
    (broken.Eager, "test_prepare_is_pure"),
    (broken.Probing, "test_check_writes_nothing"),
    (broken.Friendly, "test_an_unknown_person_is_nobody"),
    (broken.Keeping, "test_what_is_deleted_is_gone"),
    (broken.Talking, "test_no_secret_is_told"),
    (broken.Telling, "test_no_secret_is_told"),
    (broken.Quoting, "test_no_secret_is_told"),
    (broken.Sure, "test_a_lost_answer_leaves_one_record"),
]


@pytest.mark.parametrize(("kind", "promise"), BREACHES, ids=lambda value: getattr(value, "__name__", value))
def test_the_kit_fails_for_a_broken_adapter(
    kind: type[MemoryAdapter], promise: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(AssertionError):
        keep(promise, kind(), request)


@pytest.mark.parametrize(
    ("kind", "promise", "error"),
    [
        (broken.Once, "test_what_is_deleted_is_gone", KeyError),
        (broken.Fragile, "test_closing_twice_is_harmless", AttributeError),
    ],
)
def test_the_kit_lets_through_what_an_adapter_raises_by_mistake(
    kind: type[MemoryAdapter], promise: str, error: type[Exception], request: pytest.FixtureRequest
) -> None:
    with pytest.raises(error):
        keep(promise, kind(), request)


@pytest.mark.parametrize(
    ("kind", "text"), [(broken.Cutting, "32 kB"), (broken.Crashing, "lone surrogate")], ids=["Cutting", "Crashing"]
)
def test_the_kit_fails_for_an_adapter_that_harms_texts(
    kind: type[MemoryAdapter], text: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises((AssertionError, UnicodeError)):
        keep("test_text_arrives_as_it_was", kind(), request, kind=text)
    keep("test_text_arrives_as_it_was", kind(), request, kind="plain")


def test_the_core_in_miniature_gives_up_on_what_never_succeeds() -> None:
    adapter = MemoryAdapter()
    fault = Fault(kind=Kind.RETRYABLE, code="down", message="Down.")
    adapter.script.extend([Failing(fault=fault)] * 100)

    [receipt] = settle(adapter, [make_push("c-1", 1, {})])

    assert receipt.fault == fault
    assert adapter.effects == []


def test_the_texts_hold_what_they_say() -> None:
    assert "\0" in TEXTS["nul"]
    assert max(map(ord, TEXTS["astral"])) > 0xFFFF
    assert len(TEXTS["32 kB"].encode()) == 32 * 1024


def keep(promise: str, adapter: MemoryAdapter, request: pytest.FixtureRequest, **given: Any) -> None:
    """Run one promise of the kit on this adapter."""
    found = {
        "adapter": adapter,
        "read_back": reader(adapter),
        "text_field": "wrapup_notes",
        "refused": Refused(fields={"wrapup_notes": "refuse me"}, field="wrapup_notes"),
        "lose_answer": lambda: adapter.script.append(LOST),
        "shuffle_answers": None,
        "secrets": [broken.SECRET],
        **given,
    }
    test = getattr(AdapterContract(), promise)
    names = inspect.signature(test).parameters
    test(**{name: found[name] if name in found else request.getfixturevalue(name) for name in names})
