"""The sandbox's own signatures, against literal vectors and against the signer of Standard Webhooks itself."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from crm_sync.sandbox.signing import BadSignature, hub_signature, standard_key, verify_standard

SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four by.").decode()
OTHER = "whsec_" + base64.b64encode(b"quite another key, as it").decode()
AT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
BODY = '{"type":"conversation.closed","data":{"conversation_id":"c-1","name":"Zoë"}}'


def signed(secret: str = SECRET, *, at: datetime = AT, body: str = BODY) -> dict[str, str]:
    return {
        "webhook-id": "c-1.7.abc",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("c-1.7.abc", at, body),
    }


def verify(headers: dict[str, str], *secrets: str, body: str = BODY) -> str:
    return verify_standard(
        headers, body.encode(), keys=[standard_key(secret) for secret in secrets], now=AT.timestamp()
    )


def test_the_hub_signature_is_the_one_of_the_documented_vector() -> None:
    signature = hub_signature("0123456789abcdef", b'{"id":"m-1","type":"Text","text":"hi"}')

    assert signature == "sha256=ac4bdfd28fb473f641af25b9b90f1b1acf3592046b5a0f37de86cbd031c7edf8"


def test_what_the_standard_library_signs_is_accepted_and_gives_its_id() -> None:
    assert verify(signed(), SECRET) == "c-1.7.abc"


def test_any_of_several_secrets_is_accepted() -> None:
    assert verify(signed(OTHER), SECRET, OTHER) == "c-1.7.abc"


def test_one_of_several_signatures_is_enough() -> None:
    headers = signed(OTHER)
    headers["webhook-signature"] += " " + signed(SECRET)["webhook-signature"]

    assert verify(headers, SECRET) == "c-1.7.abc"


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(BadSignature, match="matches"):
        verify(signed(), SECRET, body=BODY.replace("c-1", "c-2"))


def test_a_changed_id_is_refused() -> None:
    with pytest.raises(BadSignature, match="matches"):
        verify(signed() | {"webhook-id": "c-1.8.abc"}, SECRET)


def test_an_unknown_secret_is_refused() -> None:
    with pytest.raises(BadSignature, match="matches"):
        verify(signed(OTHER), SECRET)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_five_minutes_off_is_still_accepted(seconds: int) -> None:
    assert verify(signed(at=AT + timedelta(seconds=seconds)), SECRET) == "c-1.7.abc"


@pytest.mark.parametrize("seconds", [-301, 301])
def test_more_than_five_minutes_off_is_refused(seconds: int) -> None:
    with pytest.raises(BadSignature, match="timestamp"):
        verify(signed(at=AT + timedelta(seconds=seconds)), SECRET)


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "²", "9" * 5000])
def test_a_timestamp_that_is_no_number_is_refused(timestamp: str) -> None:
    with pytest.raises(BadSignature, match="timestamp"):
        verify(signed() | {"webhook-timestamp": timestamp}, SECRET)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-signature"])
def test_a_missing_header_is_refused(missing: str) -> None:
    headers = signed()
    del headers[missing]

    with pytest.raises(BadSignature, match="missing"):
        verify(headers, SECRET)


def test_a_signature_of_another_scheme_is_refused() -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v1a,")

    with pytest.raises(BadSignature, match="missing"):
        verify(headers, SECRET)


@pytest.mark.parametrize("secret", ["", "plain", "whsec_", "whsec_not base64", "YWJj"])
def test_a_secret_of_another_form_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        standard_key(secret)
