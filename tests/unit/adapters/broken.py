"""Adapters that break one promise each. The contract kit must fail for every one of them."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

import structlog

from crm_sync.adapters.contract import Finding, Match, Outcome, PersonHint, Prepared, Push, Receipt
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import AdapterFailure, Fault, Kind, failure

SECRET = "hunter2-hunter2"


class Doubling(MemoryAdapter):
    """Searches, waits for others to search, and then creates."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        receipts = super().push(batch)
        for entry in batch:
            self.records[f"{entry.conversation_id} {uuid.uuid4()}"] = self.records[entry.conversation_id]
        return receipts


class Boasting(MemoryAdapter):
    """Claims that every push created something."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        return [replace(receipt, outcome=Outcome.CREATED) for receipt in super().push(batch)]


class Forgetful(MemoryAdapter):
    """Lets an old version win."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        for entry in batch:
            self.records.pop(entry.conversation_id, None)
        return super().push(batch)


class Stubborn(MemoryAdapter):
    """Never lets a newer version replace the first one, and says that it did."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        new = [entry for entry in batch if entry.conversation_id not in self.records]
        super().push(new)
        return [Receipt(push_key=entry.push_key, outcome=Outcome.CREATED) for entry in batch]


class Shuffling(MemoryAdapter):
    """Returns its receipts in the order of their conversations."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        receipts = super().push(batch)
        return receipts[1:] + receipts[:1]


class Dropping(MemoryAdapter):
    """Says nothing of the last record of a batch."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        return super().push(batch)[:-1] if len(batch) > 1 else super().push(batch)


class Blaming(MemoryAdapter):
    """Refuses a whole batch for one bad record, and does not say that it is atomic."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        bad = [entry.conversation_id for entry in batch if entry.record.get("wrapup_notes") == "refuse me"]
        fault = Fault(kind=Kind.DATA, code="refused", message="Refused.", field="wrapup_notes")
        if bad:
            return [Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=fault) for entry in batch]
        return super().push(batch)


class Cutting(MemoryAdapter):
    """Keeps only the first thousand characters of a text."""

    def prepare(self, push: Push) -> Prepared:
        prepared = super().prepare(push)
        return replace(prepared, record={name: str(value)[:1000] for name, value in prepared.record.items()})


class Crashing(MemoryAdapter):
    """Encodes too late, and falls over text that cannot be encoded."""

    def prepare(self, push: Push) -> Prepared:
        str(push.fields["wrapup_notes"]).encode()
        return super().prepare(push)


class Guessing(MemoryAdapter):
    """Prepares something else each time."""

    def prepare(self, push: Push) -> Prepared:
        prepared = super().prepare(push)
        return replace(prepared, record={**prepared.record, "request": str(uuid.uuid4())})


class Eager(MemoryAdapter):
    """Writes while it prepares."""

    def prepare(self, push: Push) -> Prepared:
        prepared = super().prepare(push)
        super().push([prepared])
        return prepared


class Probing(MemoryAdapter):
    """Checks by writing a record and leaving it there."""

    def check(self) -> list[Finding]:
        self.records["probe"] = next(iter(self.records.values()))
        return []


class Friendly(MemoryAdapter):
    """Knows everybody."""

    def find_person(self, hint: PersonHint) -> list[Match]:
        return [Match(record_id="1", object_name="Contact", matched_by="phone", confidence=1)]


class Keeping(MemoryAdapter):
    """Promises to delete, and keeps."""

    def delete(self, record_id: str) -> None:
        return


class Once(MemoryAdapter):
    """Cannot delete what is gone."""

    def delete(self, record_id: str) -> None:
        del self.records[record_id]


class Talking(MemoryAdapter):
    """Logs its secret."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        structlog.get_logger().info("pushing", token=SECRET)
        return super().push(batch)


class Telling(MemoryAdapter):
    """Puts its secret into the message of a fault."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        raise failure(Fault(kind=Kind.RETRYABLE, code="failed", message=f"No connection to host/{SECRET}."))


class Quoting(MemoryAdapter):
    """Puts the customer's words into the message of a fault."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        raise failure(Fault(kind=Kind.RETRYABLE, code="failed", message=f"Cannot store {dict(batch[0].record)}."))


class Sure(MemoryAdapter):
    """Takes a lost answer for a refusal."""

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        try:
            return super().push(batch)
        except AdapterFailure:
            raise failure(Fault(kind=Kind.DATA, code="refused", message="Refused.")) from None


class Fragile(MemoryAdapter):
    """Cannot be closed twice."""

    def close(self) -> None:
        del self.records
