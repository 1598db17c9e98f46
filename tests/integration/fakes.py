"""Adapters that fail in ways which the one in memory has no script for."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from crm_sync.adapters.contract import Outcome, Prepared, Push, Receipt
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import Fault, Kind

REFUSED = Fault(kind=Kind.DATA, code="INVALID", message="The CRM refuses it.")


class AtomicAdapter(MemoryAdapter):
    """Stores a whole batch or nothing; counts the sizes of the batches that it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, batch_atomic=True)
        self.sizes: list[int] = []

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Refuse all when one is refused."""
        self.sizes.append(len(batch))
        faults = [self.refused[entry.conversation_id] for entry in batch if entry.conversation_id in self.refused]
        if not faults:
            return super().push(batch)
        return [Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=faults[0]) for entry in batch]


class CrookedAdapter(MemoryAdapter):
    """Stores everything, and then gives receipts of its own."""

    def __init__(self, receipts: Callable[[list[Receipt]], Any]) -> None:
        super().__init__()
        self._receipts = receipts

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Store, then answer as told."""
        return list(self._receipts(super().push(batch)))


class BrokenAdapter(MemoryAdapter):
    """Cannot prepare one conversation: a bug."""

    broken = "broken"

    def prepare(self, push: Push) -> Prepared:
        """Raise what no adapter may raise."""
        if push.conversation_id == self.broken:
            raise KeyError("a field")
        return super().prepare(push)


class NotingAdapter(MemoryAdapter):
    """Keeps what it was asked to push."""

    def __init__(self) -> None:
        super().__init__()
        self.pushes: list[Push] = []

    def prepare(self, push: Push) -> Prepared:
        """Note the push."""
        self.pushes.append(push)
        return super().prepare(push)


class BusyAdapter(MemoryAdapter):
    """Lets something happen before it answers a call: the next of `meanwhile`. Counts the records of its calls."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.meanwhile = list(meanwhile)
        self.calls: list[list[str]] = []

    @property
    def sent(self) -> int:
        """How many records were sent in all."""
        return sum(map(len, self.calls))

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Let the next thing happen, then store."""
        self.calls.append([entry.conversation_id for entry in batch])
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return super().push(batch)


class PoisonedAdapter(MemoryAdapter):
    """Hangs on the conversation `poison` until it is let go: in its call, or `in_prepare` before it."""

    def __init__(self, *, in_prepare: bool = False) -> None:
        super().__init__()
        self.hung = threading.Semaphore(0)
        self.let_go = threading.Event()
        self._in_prepare = in_prepare

    def prepare(self, push: Push) -> Prepared:
        """Hang, or prepare."""
        if self._in_prepare:
            self._hang(push.conversation_id)
        return super().prepare(push)

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Hang, or store."""
        if not self._in_prepare:
            self._hang(*(entry.conversation_id for entry in batch))
        return super().push(batch)

    def _hang(self, *conversations: str) -> None:
        if "poison" in conversations:
            self.hung.release()
            assert self.let_go.wait(60)


class HangingAdapter(MemoryAdapter):
    """Answers no push until it is let go."""

    began = threading.Event()
    let_go = threading.Event()

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Wait, then store."""
        type(self).began.set()
        assert type(self).let_go.wait(60)
        return super().push(batch)
