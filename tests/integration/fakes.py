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


class HangingAdapter(MemoryAdapter):
    """Answers no push until it is let go."""

    began = threading.Event()
    let_go = threading.Event()

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Wait, then store."""
        type(self).began.set()
        assert type(self).let_go.wait(60)
        return super().push(batch)
