"""STAGE 2, the worker: claim what is due, push it with no transaction open, settle what came of it.

Each target has lanes of its own, so that a slow CRM slows nobody else. A lane that finds nothing sleeps until a commit
wakes it, or for a second.
"""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from crm_sync import clock
from crm_sync.adapters import mapping
from crm_sync.adapters.contract import Adapter, Outcome, Prepared, Push, Receipt
from crm_sync.adapters.registry import build
from crm_sync.adapters.values import clean
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, NotFound, SettingsError, Unavailable
from crm_sync.metrics import PUSH_SECONDS, PUSHES
from crm_sync.retry import judge
from crm_sync.settings import Settings, TargetSettings
from crm_sync.store import outbox, targets
from crm_sync.store.engine import Database
from crm_sync.store.outbox import Claim, Settlement
from crm_sync.store.tables import ADDRESS_LENGTH
from crm_sync.store.wakeup import Wakeup

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
SETTLE_TRIES = 5
CODE_LENGTH = 200
"""A vendor's code or request id is cut there, which is all that the audit holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One thread's part of the work on one target."""

    name: str
    target_id: int
    adapter: Adapter
    settings: TargetSettings
    wake: threading.Event
    """Set when there may be something new; each lane has one of its own."""

    @property
    def batch(self) -> int:
        """How many deliveries to claim at once."""
        return min(self.settings.batch or self.adapter.capabilities.max_batch, self.adapter.capabilities.max_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A claim with what is to be pushed for it."""

    claim: Claim
    prepared: Prepared
    payload_hash: str


def build_adapters(settings: Settings) -> dict[str, Adapter]:
    """Return the adapter of each target by name; raises SettingsError that names every fault of every target."""
    adapters: dict[str, Adapter] = {}
    faults: list[str] = []
    for name, target in settings.targets.items():
        try:
            adapters[name] = build(name, target, worker_deadline_seconds=settings.worker.push_deadline_seconds)
        except SettingsError as error:
            faults.extend(error.faults)
    if faults:
        raise SettingsError(faults)
    return adapters


def run(settings: Settings, database: Database, stop: threading.Event) -> None:
    """Deliver until `stop` is set; then finish the pushes that are under way, and return."""
    adapters = build_adapters(settings)
    lanes = list(_lanes(settings, database, adapters))
    threads = [
        threading.Thread(target=_work, args=(lane, settings, database, stop), name=f"deliver-{lane.name}")
        for lane in lanes
    ]
    for thread in threads:
        thread.start()
    log.info("worker_started", targets=sorted(adapters), lanes=len(lanes))
    _wake(lanes, database, stop)
    for thread in threads:
        thread.join()
    for adapter in adapters.values():
        adapter.close()
    log.info("worker_stopped")


def _lanes(settings: Settings, database: Database, adapters: Mapping[str, Adapter]) -> Iterator[Lane]:
    with database.write() as connection:
        ids = targets.sync(connection, {name: target.adapter for name, target in settings.targets.items()})
    for name, target in settings.targets.items():
        for _ in range(target.concurrency):
            yield Lane(name=name, target_id=ids[name], adapter=adapters[name], settings=target, wake=threading.Event())


def _wake(lanes: Sequence[Lane], database: Database, stop: threading.Event) -> None:
    """Wake all lanes after each commit of debts, and every second whatever happens."""
    while not stop.is_set():
        try:
            with Wakeup(database) as wakeup:
                while not stop.is_set():
                    wakeup.wait(POLL_SECONDS)
                    for lane in lanes:
                        lane.wake.set()
        except (SQLAlchemyError, Unavailable, OSError) as error:
            log.warning("wakeup_lost", error=type(error).__name__)
            stop.wait(POLL_SECONDS)
    for lane in lanes:
        lane.wake.set()


def _work(lane: Lane, settings: Settings, database: Database, stop: threading.Event) -> None:
    """Go on whatever happens: this loop is what pays the debts."""
    while not stop.is_set():
        try:
            found = deliver_once(lane, settings, database)
        except Unavailable as error:
            log.warning("database_unavailable", target=lane.name, reason=str(error))
            stop.wait(POLL_SECONDS)
            continue
        except Exception:
            log.exception("lane_failed", target=lane.name)
            stop.wait(POLL_SECONDS)
            continue
        if not found:
            lane.wake.wait(POLL_SECONDS)
            lane.wake.clear()


def deliver_once(lane: Lane, settings: Settings, database: Database) -> int:
    """Claim one batch, push it, settle it; return how many deliveries it held."""
    with database.read() as connection:
        if not outbox.is_due(connection, lane.target_id):
            return 0
    # The lease is counted from before the claim, so that we never believe in it for longer than the database does.
    lease_ends_at = clock.monotonic() + settings.worker.lease_seconds
    with database.write() as connection:
        claims = outbox.claim(connection, lane.target_id, limit=lane.batch, lease_seconds=settings.worker.lease_seconds)
    if not claims:
        return 0
    settled, entries = _sort_out(lane, claims)
    if entries and clock.monotonic() + settings.worker.push_deadline_seconds > lease_ends_at:
        with database.write() as connection:
            outbox.release(connection, [entry.claim for entry in entries])
        entries = []
    faults = _push_all(lane, entries, settled)
    _settle(lane, database, settled, faults)
    return len(claims)


def _sort_out(lane: Lane, claims: Sequence[Claim]) -> tuple[list[Settlement], list[_Entry]]:
    """Tell what needs no push (unchanged, or too dangerous to try) from what does."""
    settled, entries = [], []
    for claim in claims:
        record = claim.closure.as_record()
        fields = mapping.apply(lane.settings.fields, record | {"version": claim.version})
        # The version is left out of the hash: alone it changes nothing that a reader of the CRM could see.
        content = mapping.payload_hash(mapping.apply(lane.settings.fields, record))
        key = mapping.push_key(claim.closure.conversation_id, claim.version, content, redelivery=claim.redelivery)
        if claim.took_its_worker_down:
            settled.append(_taken_down(claim, key))
        elif claim.payload_hash == content and not claim.push_again:
            receipt = Receipt(push_key=key, outcome=Outcome.UNCHANGED)
            settled.append(_paid(claim, receipt, content, started_at=clock.now(), sent=False))
        else:
            try:
                prepared = lane.adapter.prepare(_as_push(claim, key, fields))
            except Exception as error:
                fault = _defect(lane, error)
                receipt = _failed(key, fault)
                settled.append(_owed(claim, receipt, fault, started_at=clock.now(), sent=False))
            else:
                entries.append(_Entry(claim=claim, prepared=prepared, payload_hash=content))
    return settled, entries


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


def _push_all(lane: Lane, entries: Sequence[_Entry], settled: list[Settlement]) -> list[Fault]:
    """Push the entries, add what came of each to `settled`, and return the faults.

    When an atomic batch holds a record that the CRM refuses, nothing was stored: halves are pushed until the culprit
    stands alone, so that it harms only itself.
    """
    if not entries:
        return []
    started_at = clock.now()
    receipts = _push(lane, entries)
    if len(entries) > 1 and lane.adapter.capabilities.batch_atomic and all(_is_refusal(r) for r in receipts):
        middle = len(entries) // 2
        return _push_all(lane, entries[:middle], settled) + _push_all(lane, entries[middle:], settled)
    for entry, receipt in zip(entries, receipts, strict=True):
        if receipt.fault is None:
            settled.append(_paid(entry.claim, receipt, entry.payload_hash, started_at=started_at, sent=True))
        else:
            settled.append(_owed(entry.claim, receipt, receipt.fault, started_at=started_at))
    return [receipt.fault for receipt in receipts if receipt.fault is not None]


def _push(lane: Lane, entries: Sequence[_Entry]) -> list[Receipt]:
    """Return a receipt for each entry, whatever the adapter does."""
    with PUSH_SECONDS.labels(target=lane.name).time():
        try:
            receipts = lane.adapter.push([entry.prepared for entry in entries])
            if _match(receipts, entries):
                return [_storable(receipt) for receipt in receipts]
            raise TypeError("the adapter's receipts do not match its batch")
        except AdapterFailure as error:
            # When the CRM's whole endpoint is gone, the records are fine and wait for another.
            is_gone = error.fault.kind is Kind.GONE
            fault = replace(error.fault, kind=Kind.CONFIG) if is_gone else error.fault
        except Exception as error:
            fault = _defect(lane, error)
    return [_storable(_failed(entry.prepared.push_key, fault)) for entry in entries]


def _match(receipts: Sequence[Receipt], entries: Sequence[_Entry]) -> bool:
    """Tell whether there is one receipt for each entry, in order, each with a fault exactly when it failed."""
    keys = [receipt.push_key for receipt in receipts] == [entry.prepared.push_key for entry in entries]
    return keys and all((receipt.fault is None) == (receipt.outcome is not Outcome.FAILED) for receipt in receipts)


def _defect(lane: Lane, error: Exception) -> Fault:
    """Log a bug of the adapter with its traceback, and return the fault that has it tried again later."""
    log.exception("adapter_failed", target=lane.name, adapter=lane.settings.adapter)
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
        payload_hash=payload_hash,
        record_id=receipt.record_id,
        url=receipt.url,
    )


def _owed(claim: Claim, receipt: Receipt, fault: Fault, *, started_at: datetime, sent: bool = True) -> Settlement:
    verdict = judge(fault, attempts=claim.attempts, now=clock.now(), random=random.random())
    return Settlement(
        claim=claim,
        state="dead" if verdict.due_at is None else "pending",
        sent=sent,
        push_key=receipt.push_key,
        outcome=str(Outcome.FAILED),
        started_at=started_at,
        finished_at=clock.now(),
        due_at=verdict.due_at,
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


def _settle(lane: Lane, database: Database, settled: Sequence[Settlement], faults: Sequence[Fault]) -> None:
    """Write what came of the claims. What cannot be written in the end is pushed again, under the same key."""
    for tries_left in range(SETTLE_TRIES, 0, -1):
        try:
            with database.write() as connection:
                _hold_or_pause(connection, lane, faults)
                late = outbox.settle(connection, settled)
            break
        except Unavailable:
            if tries_left == 1:
                raise
            time.sleep(random.random())
    for settlement in settled:
        PUSHES.labels(target=lane.name, outcome=settlement.outcome).inc()
        log.info(
            "delivery_settled",
            delivery_id=settlement.claim.delivery_id,
            target=lane.name,
            outcome=settlement.outcome,
            state=settlement.state,
            code=settlement.code,
        )
    for claim in late:
        log.warning("settled_too_late", delivery_id=claim.delivery_id, target=lane.name)


def _hold_or_pause(connection: Connection, lane: Lane, faults: Sequence[Fault]) -> None:
    """Let the target rest as its CRM asked, or until a person has looked. Most settles have nothing to write here."""
    now = clock.now()
    for fault in faults:
        verdict = judge(fault, attempts=0, now=now, random=0.0)
        if verdict.pauses:
            log.error("target_paused", target=lane.name, code=fault.code, reason=fault.message)
            with suppress(NotFound):  # It was retired meanwhile, and is not pushed to either.
                targets.pause(connection, lane.name, fault.message)
            return
        if verdict.holds_until is not None:
            log.warning("target_held", target=lane.name, until=verdict.holds_until.isoformat())
            targets.hold_until(connection, lane.target_id, verdict.holds_until)
            return
