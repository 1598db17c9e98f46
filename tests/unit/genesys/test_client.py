"""Calls of the API: the token, its one renewal, what is tried again, the breaker, and the remedy in every fault."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import stamina
from pydantic import SecretStr
from structlog.testing import capture_logs

from crm_sync.errors import AdapterFailure, Fault, Kind, failure
from crm_sync.genesys.breaker import FAILURES, FIRST_PAUSE_SECONDS
from crm_sync.genesys.client import GenesysClient, encode, wait_before_retry
from crm_sync.genesys.limiter import Limiter
from crm_sync.settings_genesys import GenesysSettings
from tests.unit.genesys.fakes import NOW, Ticks, answer, client, token

UNREACHABLE = failure(Fault(kind=Kind.RETRYABLE, code="unreachable", message="nothing was sent"))
TIMED_OUT = failure(Fault(kind=Kind.AMBIGUOUS, code="timeout", message="no answer came"))


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def test_a_call_carries_the_token_and_compact_json() -> None:
    made, api = client(answer(200, {"ok": True}))

    assert made.request("POST", "/api/v2/x", json={"a": "é"}).json() == {"ok": True}

    (sent,) = api.sent
    assert sent.url == "https://api.test/api/v2/x"
    assert sent.headers["Authorization"] == "Bearer first"
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.body == '{"a":"é"}'.encode()


def test_a_refused_token_is_renewed_once_for_a_write_too() -> None:
    made, api = client(answer(401), answer(201, {}), grants=(token("first"), token("second")))

    made.request("POST", "/x", json={})

    assert [sent.headers["Authorization"] for sent in api.sent] == ["Bearer first", "Bearer second"]


def test_a_second_refusal_is_told_and_not_tried_again() -> None:
    made, api = client(answer(401))

    error = _failure(made)

    assert error.fault.kind is Kind.AUTH
    assert len(api.sent) == 2


@pytest.mark.parametrize(
    "passing", [answer(429), answer(502, b"<html>"), answer(503), answer(504, b""), UNREACHABLE, TIMED_OUT]
)
def test_a_read_is_tried_three_times_where_that_may_help(passing: object) -> None:
    made, api = client(passing, passing, answer(200, []))  # type: ignore[arg-type]

    assert made.request("GET", "/x").json() == []
    assert len(api.sent) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 413, 500])
def test_a_read_is_not_tried_again_where_that_does_not_help(status: int) -> None:
    made, api = client(answer(status))

    _failure(made)

    assert len(api.sent) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_write_that_is_harmless_when_repeated_is_tried_three_times(method: str) -> None:
    made, api = client(answer(503), TIMED_OUT, answer(200, {}))

    made.request(method, "/x")

    assert len(api.sent) == 3


@pytest.mark.parametrize("passing", [answer(429), answer(502), answer(503), UNREACHABLE, TIMED_OUT])
def test_a_write_is_never_tried_again(passing: object) -> None:
    made, api = client(passing)  # type: ignore[arg-type]

    _failure(made, "POST")

    assert len(api.sent) == 1


def test_a_server_error_leaves_open_whether_a_write_was_done_but_not_a_rate_limit() -> None:
    kinds = {status: _failure(client(answer(status))[0], "POST").fault.kind for status in (500, 502, 429)}

    assert kinds == {500: Kind.AMBIGUOUS, 502: Kind.AMBIGUOUS, 429: Kind.RATE_LIMITED}


@pytest.mark.parametrize(("seconds", "expected"), [(7, 7.0), (20, 20.0), (21, False), (0, 0.0), (None, True)])
def test_a_read_waits_as_long_as_it_is_asked_to_unless_that_is_too_long(
    seconds: int | None, expected: bool | float
) -> None:
    retry_at = None if seconds is None else NOW + timedelta(seconds=seconds)
    error = failure(Fault(kind=Kind.RATE_LIMITED, code="http_429", message="slow down", retry_at=retry_at))

    found = wait_before_retry(error, now=lambda: NOW)

    # To stamina True and False are no numbers of seconds.
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, ["HTTP 400", "the remedy of the caller"]),
        (401, ["HTTP 401", "GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET"]),
        (
            403,
            ["HTTP 403", "conversations:write", "integrations:write", "analytics:conversation:view", "admin console"],
        ),
        (404, ["HTTP 404", "GENESYS_API_URL"]),
        (429, ["HTTP 429", "Retry-After", "several OAuth clients"]),
        (500, ["HTTP 500", "more slowly", "support", "6f1c-77"]),
    ],
)
def test_each_refusal_is_one_sentence_with_its_remedy_and_nothing_of_the_body(status: int, words: list[str]) -> None:
    body = {"message": "Ada Lovelace said no", "code": "some.code"}
    made, _ = client(answer(status, body, inin_correlation_id="6f1c-77"))

    with pytest.raises(AdapterFailure) as failed:
        made.request("POST", "/x", json={"text": "Ada"}, malformed="the remedy of the caller")

    message = str(failed.value)
    assert all(word in message for word in words), message
    assert "Ada" not in message and message.endswith(".")
    assert failed.value.fault.vendor_request_id == "6f1c-77"


def test_the_log_names_the_correlation_id_the_fields_and_the_code_but_no_words() -> None:
    made, _ = client(
        answer(500, {"message": "Ada said no", "code": "internal.server.error"}, inin_correlation_id="6f1c")
    )

    with capture_logs() as lines, pytest.raises(AdapterFailure):
        made.request("POST", "/x", json={"text": "I am Ada"})

    refused = next(line for line in lines if line["event"] == "genesys_refused")
    assert refused["correlation_id"] == "6f1c"
    assert refused["sent_fields"] == ["text"]
    assert refused["answered_code"] == "internal.server.error"
    assert "Ada" not in str(lines)


def test_the_breaker_opens_after_failures_in_a_row_and_closes_when_a_trial_succeeds() -> None:
    ticks = Ticks()
    made, api = client(*[answer(500)] * FAILURES, answer(200, {}), ticks=ticks)
    for _ in range(FAILURES):
        _failure(made)

    refused = _failure(made)
    assert refused.fault.code == "breaker_open"
    assert len(api.sent) == FAILURES

    ticks.seconds += FIRST_PAUSE_SECONDS
    made.request("GET", "/x")
    made.request("GET", "/x")
    assert len(api.sent) == FAILURES + 2


def test_a_failed_trial_doubles_the_pause() -> None:
    ticks = Ticks()
    made, api = client(answer(500), ticks=ticks)
    for _ in range(FAILURES):
        _failure(made)
    ticks.seconds += FIRST_PAUSE_SECONDS
    _failure(made)

    ticks.seconds += FIRST_PAUSE_SECONDS
    assert _failure(made).fault.code == "breaker_open"
    ticks.seconds += FIRST_PAUSE_SECONDS
    assert _failure(made).fault.code == "http_500"
    assert len(api.sent) == FAILURES + 2


def test_refusals_in_good_order_do_not_open_the_breaker() -> None:
    made, api = client(answer(400))
    for _ in range(FAILURES + 3):
        _failure(made)

    assert len(api.sent) == FAILURES + 3


def test_there_is_no_client_without_credentials_and_none_shows_them() -> None:
    assert GenesysClient.from_settings(GenesysSettings()) is None
    settings = GenesysSettings(client_id="ours", client_secret=SecretStr("never to be seen"))
    made = GenesysClient.from_settings(settings)

    assert made is not None
    assert "never to be seen" not in repr(made) + str(vars(made))
    made.close()


def test_calls_keep_below_the_limit_by_waiting_for_their_turn() -> None:
    ticks = Ticks()
    made, api = client(answer(200, {}), ticks=ticks, limiters=[Limiter(60, monotonic=ticks)])
    began = ticks.seconds

    for _ in range(60):
        made.request("GET", "/x")

    assert len(api.sent) == 60
    assert ticks.seconds - began == pytest.approx(60.0)


def test_a_limit_that_is_used_up_for_long_is_told_and_nothing_is_sent() -> None:
    ticks = Ticks()
    limiter = Limiter(60, monotonic=ticks)
    made, api = client(answer(200, {}), ticks=ticks, limiters=[limiter])
    limiter.rest(90)

    error = _failure(made)

    assert (error.fault.kind, error.fault.code) == (Kind.RATE_LIMITED, "limit_kept")
    assert error.fault.retry_at == NOW + timedelta(seconds=90)
    assert "more_clients" in str(error)
    assert not api.sent
    made.request("GET", "/x", patience_seconds=120)
    assert len(api.sent) == 1


def test_who_was_refused_for_its_rate_rests_while_the_others_go_on() -> None:
    ticks = Ticks()
    limiters = [Limiter(300, monotonic=ticks) for _ in range(2)]
    made, api = client(answer(429, retry_after="60"), answer(200, {}), ticks=ticks, limiters=limiters)

    for _ in range(3):
        made.request("GET", "/x")

    used = [sent.headers["Authorization"] for sent in api.sent]
    assert used == ["Bearer first", *["Bearer second"] * 3]
    assert limiters[0].wait() == 60


def test_what_is_not_json_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": float("inf")})


def _failure(made: GenesysClient, method: str = "GET") -> AdapterFailure:
    with pytest.raises(AdapterFailure) as failed:
        made.request(method, "/x")
    return failed.value
