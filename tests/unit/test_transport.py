"""What an answer means when its body says nothing, and when to come again."""

from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from crm_sync import connections
from crm_sync.errors import AdapterFailure, Kind
from crm_sync.transport import Response, classify, fault_of, parse_retry_after

NOW = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Kind.CONFIG),
        (302, Kind.CONFIG),
        (307, Kind.CONFIG),
        (400, Kind.DATA),
        (401, Kind.AUTH),
        (403, Kind.CONFIG),
        (404, Kind.CONFIG),
        (408, Kind.RETRYABLE),
        (409, Kind.CONFLICT),
        (410, Kind.GONE),
        (412, Kind.CONFLICT),
        (413, Kind.DATA),
        (422, Kind.DATA),
        (423, Kind.RETRYABLE),
        (429, Kind.RATE_LIMITED),
        (500, Kind.RETRYABLE),
        (501, Kind.CONFIG),
        (503, Kind.RETRYABLE),
        (524, Kind.RETRYABLE),
    ],
)
def test_a_status_has_its_kind(status: int, kind: Kind) -> None:
    assert classify(status, {}) is kind


def test_not_found_means_gone_where_the_url_names_a_record() -> None:
    assert classify(404, {}, names_record=True) is Kind.GONE


def test_a_broken_server_is_uncertain_where_repeating_does_harm() -> None:
    assert classify(502, {}, idempotent=False) is Kind.AMBIGUOUS


def test_a_503_that_names_a_time_is_a_limit() -> None:
    assert classify(503, {"retry-after": "5"}) is Kind.RATE_LIMITED


def test_an_answer_no_rule_knows_is_repeated_with_a_warning() -> None:
    with structlog.testing.capture_logs() as logged:
        assert classify(418, {}) is Kind.RETRYABLE

    assert logged == [{"event": "unknown_answer", "status": 418, "log_level": "warning"}]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("0", 1),
        ("7200", 3600),
        ("999999999999", 3600),
        ("Mon, 15 Jan 2024 10:05:00 GMT", 300),
        ("Monday, 15-Jan-24 10:05:00 GMT", 300),
        ("Mon, 15 Jan 2024 09:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
    ],
)
def test_a_wait_lies_between_a_second_and_an_hour(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1e9", "\u0661\u0662", "NaN", "9" * 5000, "Mon, 99 Jan"])
def test_a_wait_that_says_nothing_is_none(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,4} [0-9:]{1,8} \w{1,4}"))
def test_any_wait_is_within_reason_or_none(value: str) -> None:
    at = parse_retry_after(value, NOW)

    assert at is None or NOW + timedelta(seconds=1) <= at <= NOW + timedelta(hours=1)


def test_a_fault_carries_code_wait_and_request_id() -> None:
    answer = Response(status=429, headers={"retry-after": "30", "x-request-id": "abc-1"}, body=b"words of a customer")

    fault = fault_of(answer, now=NOW)

    assert (fault.kind, fault.code, fault.vendor_request_id) == (Kind.RATE_LIMITED, "http_429", "abc-1")
    assert fault.retry_at == NOW + timedelta(seconds=30)
    assert "customer" not in repr(fault) + repr(answer)


def test_a_request_id_that_is_none_is_left_out() -> None:
    answer = Response(status=500, headers={"x-request-id": "<script>\n"}, body=b"")

    assert fault_of(answer, now=NOW).vendor_request_id is None


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": ', b"\xff", b"NaN", b"[" * 100_000])
def test_a_body_that_is_no_json_is_uncertain(body: bytes) -> None:
    with pytest.raises(AdapterFailure) as caught:
        Response(status=200, headers={}, body=body).json()

    assert (caught.value.fault.kind, caught.value.fault.code) == (Kind.AMBIGUOUS, "not_json")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not connections.is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_a_public_address_is_known(address: str) -> None:
    assert connections.is_public(address)
