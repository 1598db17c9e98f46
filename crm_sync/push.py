"""Push one batch of claims to a CRM, whatever its adapter does, and say what came of each as a settlement.

Reads and writes nothing of ours: claiming before and settling after are `deliver`'s.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from crm_sync import clock
from crm_sync.adapters import mapping
from crm_sync.adapters.contract import Adapter, Outcome, Prepared, Push, Receipt
from crm_sync.adapters.values import clean
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind
from crm_sync.metrics import PUSH_SECONDS
from crm_sync.retry import judge
from crm_sync.settings_targets import TargetSettings
from crm_sync.store.outbox import Claim, Settlement
from crm_sync.store.tables import ADDRESS_LENGTH

log = structlog.get_logger(__name__)

_NO_ANSWER = frozenset((Kind.RETRYABLE, Kind.AMBIGUOUS))
_OF_THE_TARGET = frozenset((Kind.AUTH, Kind.CONFIG, Kind.RATE_LIMITED, Kind.QUOTA))

CODE_LENGTH = 200
"""A vendor's code or request id is cut there, which is all that the audit holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """How one target is pushed to."""

    name: str
    adapter: Adapter
    settings: TargetSettings

    @property
    def batch(self) -> int:
        """How many deliveries go into one push at most."""
        largest = self.adapter.capabilities.max_batch
        return min(self.settings.batch or largest, largest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A claim with what is to be pushed for it."""

    claim: Claim
    prepared: Prepared
    payload_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What came of one call of an adapter. `is_defect`: it broke its contract, which tells nothing of the CRM."""

    receipts: Sequence[Receipt]
    is_defect: bool = False

    @property
    def is_answered(self) -> bool | None:
        """Whether the CRM gave an answer to work with, be it a refusal; None when nothing is known of that."""
        if self.is_defect:
            return None
        return not all(receipt.fault is not None and receipt.fault.kind in _NO_ANSWER for receipt in self.receipts)


@dataclass(slots=True, kw_only=True)
class Pushed:
    """What came of a push: settlements, the faults met, and claims of which nothing was sent.

    `sent` counts the records in all calls. `is_answered` is True when any call was answered, False when none was.
    """

    settlements: list[Settlement] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unsent: list[Claim] = field(default_factory=list)
    sent: int = 0
    is_answered: bool | None = None
    is_in_vain: bool = False

    def note(self, call: Call) -> None:
        """Count a call."""
        faults = [receipt.fault for receipt in call.receipts if receipt.fault is not None]
        self.faults += faults
        self.sent += len(call.receipts)
        if call.is_answered is not None:
            self.is_answered = self.is_answered or call.is_answered
        self.is_in_vain = call.is_answered is False or any(fault.kind in _OF_THE_TARGET for fault in faults)


def sort_out(channel: Channel, claims: Sequence[Claim]) -> tuple[list[Settlement], list[Entry]]:
    """Tell what needs no push (unchanged, or too dangerous to try) from what does."""
    settled, entries = [], []
    for claim in claims:
        found = _sort_out(channel, claim)
        if isinstance(found, Entry):
            entries.append(found)
        else:
            settled.append(found)
    return settled, entries


def push(channel: Channel, entries: Sequence[Entry], may_call: Callable[[], bool]) -> Pushed:
    """Push the entries batch by batch, and return what came of them.

    `may_call` is asked before each call: once it says no, or the CRM says that more would be in vain, the others stay
    unsent. When an atomic batch holds a record that the CRM refuses, nothing was stored: halves are pushed until the
    culprit stands alone, so that it harms only itself.
    """
    pushed = Pushed()
    batches = [entries[start : start + channel.batch] for start in range(0, len(entries), channel.batch)]
    while batches and not pushed.is_in_vain and may_call():
        batch = batches.pop(0)
        started_at = clock.now()
        call = _call(channel, batch)
        pushed.note(call)
        if len(batch) > 1 and channel.adapter.capabilities.batch_atomic and all(map(_is_refusal, call.receipts)):
            middle = len(batch) // 2
            batches[:0] = [batch[:middle], batch[middle:]]
            continue
        for entry, receipt in zip(batch, call.receipts, strict=True):
            if receipt.fault is None:
                settlement = _paid(entry.claim, receipt, entry.payload_hash, started_at=started_at, sent=True)
            else:
                settlement = _owed(entry.claim, receipt, receipt.fault, started_at=started_at)
            pushed.settlements.append(settlement)
    pushed.unsent = [entry.claim for batch in batches for entry in batch]
    return pushed


def _sort_out(channel: Channel, claim: Claim) -> Entry | Settlement:
    closure, record = claim.closure, claim.closure.as_record()
    fields = mapping.apply(channel.settings.fields, record | {"version": claim.version})
    # Everything that an adapter is handed, but for the version: alone it changes nothing that a reader could see.
    seen = {"closed": closure.closed, "ended_at": record["ended_at"]}
    content = mapping.payload_hash({"fields": mapping.apply(channel.settings.fields, record), **seen})
    key = mapping.push_key(closure.conversation_id, claim.version, content, redelivery=claim.redelivery)
    if claim.took_its_worker_down:
        return _taken_down(claim, key)
    if claim.payload_hash == content and not claim.push_again:
        receipt = Receipt(push_key=key, outcome=Outcome.UNCHANGED)
        return _paid(claim, receipt, content, started_at=clock.now(), sent=False)
    try:
        prepared = channel.adapter.prepare(_as_push(claim, key, fields))
        if not isinstance(prepared, Prepared):
            raise TypeError("the adapter prepared nothing")
    except BaseException as error:  # A bug in an adapter, which may be any.
        fault = _defect(channel, error)
        return _owed(claim, _failed(key, fault), fault, started_at=clock.now(), sent=False)
    return Entry(claim=claim, prepared=prepared, payload_hash=content)


def _as_push(claim: Claim, key: str, fields: Mapping[str, JSON]) -> Push:
    return Push(
        conversation_id=claim.closure.conversation_id,
        push_key=key,
        version=claim.version,
        # Never the present: an attempt made again must send the same bytes.
        occurred_at=claim.closure.ended_at or clock.from_ms(claim.version),
        closed=claim.closure.closed,
        fields=fields,
        known_id=claim.crm_record_id,
    )


def _call(channel: Channel, entries: Sequence[Entry]) -> Call:
    """Call the adapter, and return a receipt for each entry, whatever the adapter does."""
    with PUSH_SECONDS.labels(target=channel.name).time():
        try:
            receipts = channel.adapter.push([entry.prepared for entry in entries])
            if not _match(receipts, entries):
                raise TypeError("the adapter's receipts do not match its batch")
            return Call(receipts=[_storable(receipt) for receipt in receipts])
        except BaseException as error:
            told = error.fault if isinstance(error, AdapterFailure) and _is_sound(error.fault) else None
            fault, is_defect = told or _defect(channel, error), told is None
    if fault.kind is Kind.GONE:
        # When the CRM's whole endpoint is gone, the records are fine and wait for another.
        fault = replace(fault, kind=Kind.CONFIG)
    failed = [_storable(_failed(entry.prepared.push_key, fault)) for entry in entries]
    return Call(receipts=failed, is_defect=is_defect)


def _match(receipts: Any, entries: Sequence[Entry]) -> bool:
    """Tell whether there is one receipt for each entry, in order, each with a fault exactly when it failed."""
    return (
        isinstance(receipts, Sequence)
        and all(isinstance(receipt, Receipt) and isinstance(receipt.outcome, Outcome) for receipt in receipts)
        and [receipt.push_key for receipt in receipts] == [entry.prepared.push_key for entry in entries]
        and all((receipt.fault is None) == (receipt.outcome is not Outcome.FAILED) for receipt in receipts)
        and all(receipt.fault is None or _is_sound(receipt.fault) for receipt in receipts)
    )


def _is_sound(fault: Any) -> bool:
    """Tell whether a fault is one that we can judge."""
    is_fault = isinstance(fault, Fault) and isinstance(fault.kind, Kind)
    return is_fault and isinstance(fault.retry_at, datetime | None)


def _defect(channel: Channel, error: BaseException) -> Fault:
    """Log a bug of the adapter with its traceback, and return the fault that has it tried again later."""
    log.exception("adapter_failed", target=channel.name, adapter=channel.settings.adapter)
    name = type(error).__name__
    return Fault(kind=Kind.RETRYABLE, code=name, message=f"The adapter has a defect ({name}); see the log.")


def _failed(push_key: str, fault: Fault) -> Receipt:
    return Receipt(push_key=push_key, outcome=Outcome.FAILED, fault=fault)


def _storable(receipt: Receipt) -> Receipt:
    """Return the receipt with texts that the database can keep, or one CRM's odd answer would leave a batch unsettled.

    An id that is too long for its column is left out: cut short it would name another record.
    """
    fault, record_id = receipt.fault, _text(receipt.record_id)
    if fault is not None:
        fault = replace(
            fault,
            code=(_text(fault.code) or "")[:CODE_LENGTH],
            message=_text(fault.message) or "",
            retry_at=fault.retry_at if fault.retry_at and fault.retry_at.tzinfo else None,
            vendor_request_id=(_text(fault.vendor_request_id) or "")[:CODE_LENGTH] or None,
            field=_text(fault.field),
        )
    if record_id is not None and len(record_id) > ADDRESS_LENGTH:
        record_id = None
    return replace(receipt, record_id=record_id, url=_text(receipt.url), fault=fault)


def _text(text: str | None) -> str | None:
    return None if text is None else str(clean(text))


def _is_refusal(receipt: Receipt) -> bool:
    return receipt.fault is not None and receipt.fault.kind is Kind.DATA


def _paid(claim: Claim, receipt: Receipt, payload_hash: str, *, started_at: datetime, sent: bool) -> Settlement:
    return Settlement(
        claim=claim,
        state="delivered",
        sent=sent,
        push_key=receipt.push_key,
        outcome=str(receipt.outcome),
        started_at=started_at,
        finished_at=clock.now(),
        # The CRM skips what is older than what it holds; then we do not know what that is.
        payload_hash=None if receipt.outcome is Outcome.SKIPPED else payload_hash,
        record_id=receipt.record_id,
        url=receipt.url,
    )


def _owed(claim: Claim, receipt: Receipt, fault: Fault, *, started_at: datetime, sent: bool = True) -> Settlement:
    verdict = judge(fault, attempts=claim.attempts, now=clock.now(), random=random.random())
    return Settlement(
        claim=claim,
        state="dead" if verdict.wait is None else "pending",
        sent=sent,
        push_key=receipt.push_key,
        outcome=str(Outcome.FAILED),
        started_at=started_at,
        finished_at=clock.now(),
        wait=verdict.wait,
        attempt_given_back=verdict.gives_back,
        kind=str(fault.kind),
        code=fault.code,
        message=f"{fault.field}: {fault.message}" if fault.field else fault.message,
        vendor_request_id=fault.vendor_request_id,
    )


def _taken_down(claim: Claim, push_key: str) -> Settlement:
    message = "It took its worker down each time that it was tried; see the log of the adapter."
    fault = Fault(kind=Kind.DATA, code="took_its_worker_down", message=message)
    return _owed(claim, _failed(push_key, fault), fault, started_at=clock.now(), sent=False)
