"""Access tokens: asked for as the contract says, once for all, renewed early, and never shown."""

import base64
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crm_sync.errors import AdapterFailure, Fault, Kind, failure
from crm_sync.genesys.auth import Tokens
from crm_sync.transport import Response
from tests.unit.genesys.fakes import NOW, SECRET, FakeSender, Ticks, answer, token, tokens


def test_the_form_carries_credentials_and_scopes_properly_encoded() -> None:
    sender = FakeSender([token()])

    assert tokens(sender).get() == "first"

    (sent,) = sender.sent
    assert sent.method == "POST"
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in sent.headers
    assert sent.form == {
        "grant_type": ["client_credentials"],
        "client_id": ["id & more"],
        "client_secret": [SECRET],
        "scope": ["conversations:write analytics:conversation:view integrations:write"],
    }


def test_the_platform_gets_the_credentials_as_http_basic_and_no_scope() -> None:
    sender = FakeSender([token()])

    tokens(sender, dialect="platform").get()

    (sent,) = sender.sent
    kind, _, encoded = sent.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(encoded).decode()) == ("Basic", f"id & more:{SECRET}")
    assert sent.form == {"grant_type": ["client_credentials"]}


@pytest.mark.parametrize(("life", "kept", "renewed"), [(3600, 3539, 3541), (300, 269, 271), (10, 8.9, 9.1)])
def test_a_token_is_renewed_a_minute_or_a_tenth_of_its_life_before_its_end(
    life: float, kept: float, renewed: float
) -> None:
    ticks, sender = Ticks(), FakeSender([token("first", life), token("second", life)])
    given = tokens(sender, ticks)
    given.get()
    begun = ticks.seconds

    ticks.seconds = begun + kept
    assert given.get() == "first"
    ticks.seconds = begun + renewed
    assert given.get() == "second"


def test_a_refused_token_is_renewed_but_not_the_one_that_replaced_it() -> None:
    sender = FakeSender([token("first"), token("second"), token("third")])
    given = tokens(sender)
    given.get()

    given.invalidate("first")
    assert given.get() == "second"
    given.invalidate("first")
    assert given.get() == "second"


def test_of_many_callers_at_once_one_asks() -> None:
    class Slow(FakeSender):
        def send(self, *args: object, **kwargs: object) -> Response:
            entered.wait(0.05)
            return super().send(*args, **kwargs)  # type: ignore[arg-type]

    entered, sender = threading.Event(), Slow([token()])
    given = tokens(sender)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: given.get(), range(10)))

    assert set(found) == {"first"}
    assert len(sender.sent) == 1


def test_callers_who_waited_for_a_question_that_failed_do_not_ask_it_again() -> None:
    class Failing(FakeSender):
        def send(self, *args: object, **kwargs: object) -> Response:
            all_wait.wait(5)
            return super().send(*args, **kwargs)  # type: ignore[arg-type]

    # The first caller looks at the clock twice before it asks, and each of the others once before it waits.
    readings, all_wait = itertools.count(1), threading.Event()

    def monotonic() -> float:
        reading = next(readings)
        if reading == 2 + 4:
            all_wait.set()
        return float(reading)

    sender = Failing([answer(503)])
    given = tokens(sender, monotonic)
    with ThreadPoolExecutor(5) as pool:
        errors = list(pool.map(lambda _: _failure(given), range(5)))

    assert [error.fault.code for error in errors] == ["http_503"] * 5
    assert len(sender.sent) == 1
    _failure(given)
    assert len(sender.sent) == 2


@pytest.mark.parametrize("status", [400, 401])
def test_wrong_credentials_are_told_with_the_two_variables_to_check(status: int) -> None:
    error = _failure(tokens(FakeSender([answer(status, {"error": "invalid_client"})])))

    assert error.fault.kind is Kind.AUTH
    assert "GENESYS_CLIENT_ID" in str(error) and "GENESYS_CLIENT_SECRET" in str(error)


def test_a_lost_answer_about_a_token_is_not_ambiguous_for_the_call_that_needs_it() -> None:
    lost = failure(Fault(kind=Kind.AMBIGUOUS, code="timeout", message="lost"))

    assert _failure(tokens(FakeSender([lost]))).fault.kind is Kind.RETRYABLE


def test_a_rate_limit_of_the_token_address_keeps_its_instant() -> None:
    error = _failure(tokens(FakeSender([answer(429, retry_after="7")])))

    assert error.fault.kind is Kind.RATE_LIMITED
    assert error.fault.retry_at is not None
    assert (error.fault.retry_at - NOW).total_seconds() == 7


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        [],
        {},
        {"access_token": "t"},
        {"access_token": "", "expires_in": 60},
        {"access_token": "t", "expires_in": 0},
    ],
)
def test_an_answer_without_a_token_is_told_as_a_wrong_address(body: object) -> None:
    error = _failure(tokens(FakeSender([answer(200, body)])))

    assert error.fault.kind is Kind.CONFIG
    assert "GENESYS_LOGIN_URL" in str(error)


def test_secrets_stand_in_no_repr_and_no_error() -> None:
    given = tokens(FakeSender([answer(401, {"error": SECRET})]))
    error = _failure(given)

    assert SECRET not in repr(given) + str(vars(given)) + repr(error) + str(error) + repr(error.fault)


def _failure(given: Tokens) -> AdapterFailure:
    with pytest.raises(AdapterFailure) as failed:
        given.get()
    return failed.value
