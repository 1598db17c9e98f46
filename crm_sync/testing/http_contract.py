"""What an adapter over HTTP must make of answers that no CRM should give."""

from datetime import timedelta

import pytest

from crm_sync import clock
from crm_sync.adapters.contract import Adapter, Receipt
from crm_sync.errors import Fault, Kind
from crm_sync.testing.contract import AdapterContract
from crm_sync.testing.core import make_push, push_once
from crm_sync.testing.server import Answer, PretendServer

_PAGE = b"<!doctype html><title>Down for maintenance</title>"

FAULTS = {
    "not modified": (Answer(status=304), Kind.CONFIG),
    "redirect": (Answer(status=302, headers={"location": "http://127.0.0.1:9/elsewhere"}), Kind.CONFIG),
    "no token": (Answer(status=401), Kind.AUTH),
    "no right": (Answer(status=403, body=_PAGE), Kind.CONFIG),
    "locked": (Answer(status=423), Kind.RETRYABLE),
    "broken": (Answer(status=500, body=_PAGE), Kind.RETRYABLE),
    "maintenance": (Answer(status=503, body=_PAGE), Kind.RETRYABLE),
    "lost": (Answer(is_lost=True), Kind.AMBIGUOUS),
    "cut short": (Answer(body=b'{"id": "17", "outcome": "created"}', sends=9), Kind.AMBIGUOUS),
    "endless": (Answer(is_endless=True), Kind.AMBIGUOUS),
    "slow drip": (Answer(body=b" " * 100_000, drip_seconds=0.05), Kind.AMBIGUOUS),
}
WAITS = {
    "in seconds": ("120", 120.0),
    "absurd": ("99999999999", 3600.0),
    "in no time": ("0", 1.0),
    "in a past": ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
    "in a far future": ("Fri, 31 Dec 2320 23:59:59 GMT", 3600.0),
    "rubbish": ("soon", None),
    "negative": ("-5", None),
    "missing": (None, None),
}


class HTTPContract(AdapterContract):
    """Give also the fixture `server`, the pretend CRM behind `adapter`; let a push have a second at most."""

    @pytest.mark.parametrize("name", FAULTS)
    def test_a_bad_answer_has_its_kind(
        self, adapter: Adapter, server: PretendServer, text_field: str, name: str
    ) -> None:
        """An answer without a usable body means what the table of the contract says, and is asked for once."""
        answer, kind = FAULTS[name]
        server.script.append(answer)

        fault = _fault(_push(adapter, text_field))

        assert fault.kind is kind
        assert len(server.requests) == 1

    @pytest.mark.parametrize("name", WAITS)
    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_is_kept_within_reason(
        self, adapter: Adapter, server: PretendServer, text_field: str, name: str, status: int
    ) -> None:
        """Between a second and an hour, whatever the answer asks for; nothing when it asks for nothing."""
        asked, seconds = WAITS[name]
        server.script.append(Answer(status=status, headers={} if asked is None else {"Retry-After": asked}))
        before = clock.now()

        fault = _fault(_push(adapter, text_field))

        after = clock.now()
        is_silent = status == 503 and asked is None
        assert fault.kind is (Kind.RETRYABLE if is_silent else Kind.RATE_LIMITED)
        if seconds is None:
            assert fault.retry_at is None
        else:
            wait = timedelta(seconds=seconds)
            assert fault.retry_at is not None and before + wait <= fault.retry_at <= after + wait


def _push(adapter: Adapter, text_field: str) -> list[Receipt]:
    return push_once(
        adapter, [adapter.prepare(make_push("c0ffee00-0000-4000-8000-000000000001", 5, {text_field: "x"}))]
    )


def _fault(receipts: list[Receipt]) -> Fault:
    [receipt] = receipts
    assert receipt.fault is not None
    return receipt.fault
