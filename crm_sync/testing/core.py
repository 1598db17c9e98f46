"""The core in miniature: what a worker does around an adapter, without a database and without waiting."""

from collections.abc import Sequence
from datetime import UTC, datetime

from crm_sync.adapters import mapping
from crm_sync.adapters.contract import Adapter, Outcome, Prepared, Push, Receipt
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind

ATTEMPTS = 20

_WORTH_REPEATING = (Kind.RETRYABLE, Kind.AMBIGUOUS, Kind.CONFLICT, Kind.RATE_LIMITED)


def make_push(
    conversation_id: str, version: int, fields: dict[str, JSON], *, known_id: str | None = None, closed: bool = True
) -> Push:
    """Return a push as the core would make it."""
    return Push(
        conversation_id=conversation_id,
        push_key=mapping.push_key(conversation_id, version, mapping.payload_hash(fields)),
        version=version,
        occurred_at=datetime(2024, 1, 15, 10, 34, 12, 250000, tzinfo=UTC),
        closed=closed,
        fields=fields,
        known_id=known_id,
    )


def settle(adapter: Adapter, pushes: Sequence[Push]) -> list[Receipt]:
    """Push until every entry is settled or refused for good, in batches that the adapter can take.

    Repeats what is worth repeating and halves an atomic batch that holds a refused record.
    """
    batch = [adapter.prepare(push) for push in pushes]
    size = adapter.capabilities.max_batch
    parts = [batch[start : start + size] for start in range(0, len(batch), size)]
    return [receipt for part in parts for receipt in _settle(adapter, part, ATTEMPTS)]


def push_once(adapter: Adapter, batch: Sequence[Prepared]) -> list[Receipt]:
    """Push one batch one time; what the adapter raises becomes a receipt for each entry."""
    try:
        return adapter.push(batch)
    except AdapterFailure as problem:
        return [_failed(entry, problem.fault) for entry in batch]


def _settle(adapter: Adapter, batch: Sequence[Prepared], attempts: int) -> list[Receipt]:
    receipts = push_once(adapter, batch)
    if adapter.capabilities.batch_atomic and len(batch) > 1 and _is_refused(receipts):
        middle = len(batch) // 2
        return _settle(adapter, batch[:middle], attempts) + _settle(adapter, batch[middle:], attempts)
    open_entries = [
        index
        for index, receipt in enumerate(receipts)
        if receipt.fault is not None and receipt.fault.kind in _WORTH_REPEATING
    ]
    if open_entries and attempts > 1:
        again = _settle(adapter, [batch[index] for index in open_entries], attempts - 1)
        for index, receipt in zip(open_entries, again, strict=True):
            receipts[index] = receipt
    return receipts


def _is_refused(receipts: Sequence[Receipt]) -> bool:
    return all(receipt.fault is not None and receipt.fault.kind is Kind.DATA for receipt in receipts)


def _failed(entry: Prepared, fault: Fault) -> Receipt:
    return Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=fault)
