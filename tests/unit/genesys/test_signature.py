"""Proof of origin: what holds, and all that must not."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from crm_sync.genesys.signature import TOLERANCE_SECONDS, sign, verify

unhurried = settings(deadline=None)
SECRET = b"0123456789abcdef"
OTHER = b"another-secret-16"
BODY = b'{"id":"m-1","type":"Text","text":"hi"}'
HEX = "ac4bdfd28fb473f641af25b9b90f1b1acf3592046b5a0f37de86cbd031c7edf8"
BASE64 = "rEvf0o+0c/ZBryW5uQ8bGs81kgRrWg833obL0DHH7fg="
NOW = 1_705_314_600
KEY = "whsec_" + base64.b64encode(b"a key of twenty-four by.").decode()


def proof(headers: dict[str, str], *secrets: bytes, body: bytes = BODY, now: float = NOW) -> str | None:
    return verify(headers, body, secrets or (SECRET,), now_seconds=now)


def standard(secret: str = KEY, *, body: bytes = BODY, at: int = NOW, message_id: str = "msg_1") -> dict[str, str]:
    """Return the headers that the reference library of Standard Webhooks writes."""
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


@pytest.mark.parametrize("digest", [HEX, HEX.upper(), BASE64])
def test_the_published_vector_holds_in_hex_and_in_base64(digest: str) -> None:
    assert proof({"x-hub-signature-256": f"sha256={digest}"}) == "hub"


def test_what_we_sign_is_the_published_vector_in_hex() -> None:
    assert sign(SECRET, BODY) == f"sha256={HEX}"


def test_no_proof_is_no_proof() -> None:
    assert proof({}) is None
    assert proof({}, body=b"") is None
    assert verify({"x-webhook-secret": "", "x-hub-signature-256": ""}, BODY, (), now_seconds=NOW) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "sha256",
        "sha256=",
        HEX,
        BASE64,
        f"SHA256={HEX}",
        f"Sha256={HEX}",
        f"sha1={HEX}",
        f"sha512={HEX}",
        f" sha256={HEX}",
        f"sha256 ={HEX}",
        f"sha256= {HEX}",
        f"sha256={HEX} ",
        f"sha256=={HEX}",
        f"sha256={HEX},sha256={HEX}",
        f"sha256={HEX[:-1]}",
        f"sha256={HEX[:-2]}",
        f"sha256={HEX[:-2]}  ",
        f"sha256={HEX}0",
        f"sha256={BASE64[:-1]}",
        f"sha256={BASE64}=",
        f"sha256={BASE64.replace('+', '-').replace('/', '_')}",
        f"sha256=\n{BASE64}",
        f"sha256={'é' * 64}",
        f"sha256={chr(0x661) * 64}",
        "sha256=" + "0" * 64,
        "sha256=" + "a" * 65_536,
        "=" * 65_536,
        "\u20ac",
    ],
    ids=lambda header: repr(header[:40]),
)
def test_anything_but_the_exact_header_is_no_proof(header: str) -> None:
    assert proof({"x-hub-signature-256": header}) is None


@pytest.mark.parametrize("header", [f"Bearer {HEX}", f"sha256={HEX}"])
def test_a_signature_in_another_header_is_no_proof(header: str) -> None:
    assert proof({"authorization": header, "x-hub-signature": header, "x-webhook-secret": header}) is None


def test_a_signature_for_another_body_or_secret_is_no_proof() -> None:
    headers = {"x-hub-signature-256": sign(SECRET, BODY)}

    assert proof(headers, body=BODY + b" ") is None
    assert proof(headers, OTHER) is None


def test_the_old_and_the_new_secret_hold_while_both_are_configured() -> None:
    for secret in (SECRET, OTHER):
        assert proof({"x-hub-signature-256": sign(secret, BODY)}, OTHER, SECRET) == "hub"
        assert proof({"x-webhook-secret": secret.decode()}, OTHER, SECRET) == "secret"
    assert proof({"x-hub-signature-256": sign(SECRET, BODY)}, OTHER) is None


@pytest.mark.parametrize("secret", [KEY, "whsec_" + base64.b64encode(bytes(range(32))).decode()])
def test_what_the_reference_library_signs_holds(secret: str) -> None:
    assert proof(standard(secret), secret.encode()) == "standard"
    assert proof(standard(secret), OTHER, secret.encode()) == "standard"
    assert proof(standard(secret), OTHER) is None


@pytest.mark.parametrize("secret", [b"a secret that is not base64!", b"whsec_not base64", b"whsec_abc", b"whsec_"])
def test_a_secret_that_is_no_base64_stands_for_itself(secret: bytes) -> None:
    signed = hmac.digest(secret, b"msg_1." + str(NOW).encode() + b"." + BODY, "sha256")
    headers = standard() | {"webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}

    assert proof(headers, secret) == "standard"


def test_an_empty_key_signs_nothing() -> None:
    signed = hmac.digest(b"", b"msg_1." + str(NOW).encode() + b"." + BODY, "sha256")
    headers = standard() | {"webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}

    assert proof(headers, b"whsec_") is None


@pytest.mark.parametrize("old", ["v1,AAAA", f"v1,{BASE64}", "v1a,xyz", "nonsense", "v1,"])
def test_one_good_signature_among_several_is_enough(old: str) -> None:
    good = standard()["webhook-signature"]

    assert proof(standard() | {"webhook-signature": f"{old} {good}"}, KEY.encode()) == "standard"
    assert proof(standard() | {"webhook-signature": f"{good} {old}"}, KEY.encode()) == "standard"
    assert proof(standard() | {"webhook-signature": old}, KEY.encode()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": ""},
        {"webhook-id": "msg_2"},
        {"webhook-id": "\u20ac"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": f" {NOW}"},
        {"webhook-timestamp": f"+{NOW}"},
        {"webhook-timestamp": f"-{NOW}"},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": "1_705_314_600"},
        {"webhook-timestamp": "١٧٠٥٣١٤٦٠٠"},
        {"webhook-timestamp": "²"},
        {"webhook-timestamp": "9" * 13},
        {"webhook-timestamp": "9" * 65_536},
        {"webhook-timestamp": "nan"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1," * 20_000},
        {"webhook-signature": "v1,é"},
    ],
    ids=repr,
)
def test_any_part_of_a_standard_signature_that_is_wrong_is_no_proof(changes: dict[str, str]) -> None:
    assert proof(standard() | changes, KEY.encode()) is None


@pytest.mark.parametrize("prefix", ["", "v0,", "v2,", "V1,", "v1a,", "v1=", "v1", " v1, "])
def test_only_the_symmetric_scheme_is_taken(prefix: str) -> None:
    bare = standard()["webhook-signature"].removeprefix("v1,")

    assert proof(standard() | {"webhook-signature": prefix + bare}, KEY.encode()) is None


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_standard_signature_without_one_of_its_headers_is_no_proof(missing: str) -> None:
    headers = {name: value for name, value in standard().items() if name != missing}

    assert proof(headers, KEY.encode()) is None


@pytest.mark.parametrize("offset", [0, TOLERANCE_SECONDS, -TOLERANCE_SECONDS])
def test_a_standard_signature_holds_within_five_minutes(offset: int) -> None:
    assert proof(standard(at=NOW + offset), KEY.encode()) == "standard"


@pytest.mark.parametrize("offset", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1, 86_400, -86_400])
def test_a_standard_signature_out_of_the_window_is_no_proof(offset: int) -> None:
    assert proof(standard(at=NOW + offset), KEY.encode()) is None


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-webhook-secret": "s:ecret wörd €"},
        {"authorization": "Bearer s:ecret wörd €"},
        {"authorization": "bearer s:ecret wörd €"},
        {"authorization": _basic("genesys:s:ecret wörd €")},
        {"authorization": _basic(":s:ecret wörd €").replace("Basic", "BASIC")},
    ],
    ids=repr,
)
def test_the_secret_itself_is_taken_from_a_sender_that_cannot_sign(headers: dict[str, str]) -> None:
    secret = "s:ecret wörd €".encode()
    # As WSGI hands the bytes of a header over.
    as_received = {name: value.encode().decode("latin-1") for name, value in headers.items()}

    assert proof(as_received, OTHER, secret) == "secret"
    assert proof(as_received, OTHER) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"x-webhook-secret": ""},
        {"x-webhook-secret": "0123456789ABCDEF"},
        {"x-webhook-secret": " 0123456789abcdef"},
        {"x-webhook-secret": "0123456789abcdef "},
        {"x-webhook-secret": "0123456789abcde"},
        {"x-webhook-secret": "0123456789abcdef0"},
        {"x-webhook-secret": "0123456789abcdef,0123456789abcdef"},
        {"x-webhook-secret": "Bearer 0123456789abcdef"},
        {"x-webhook-secret": "0123456789abcdef\0"},
        {"x-webhook-secret": "é" * 16},
        {"x-webhook-secret": "\u20ac" * 16},
        {"x-webhook-secret": "a" * 65_536},
        {"authorization": "0123456789abcdef"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer  0123456789abcdef"},
        {"authorization": "Bearer:0123456789abcdef"},
        {"authorization": "Bearer\t0123456789abcdef"},
        {"authorization": "Token 0123456789abcdef"},
        {"authorization": "Basic 0123456789abcdef"},
        {"authorization": _basic("0123456789abcdef")},
        {"authorization": _basic("0123456789abcdef:")},
        {"authorization": _basic("user:0123456789ABCDEF")},
        {"authorization": _basic("user: 0123456789abcdef")},
        {"authorization": "Basic ***"},
        {"authorization": "Basic é"},
        {"authorization": "Basic " + "QQ==" * 16_384},
        {"authorization": ""},
    ],
    ids=lambda headers: repr(headers)[:60],
)
def test_anything_but_the_exact_secret_is_no_proof(headers: dict[str, str]) -> None:
    assert proof(headers) is None


@pytest.mark.parametrize("headers", [{}, {"x-webhook-secret": ""}, {"authorization": "Bearer "}])
def test_nothing_is_no_proof_even_where_the_secret_were_nothing(headers: dict[str, str]) -> None:
    assert proof(headers, b"") is None


@unhurried
@given(st.binary(min_size=1, max_size=64), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_of_a_body_breaks_every_signature(body: bytes, place: int, change: int) -> None:
    changed = bytearray(body)
    changed[place % len(body)] ^= change
    hub = {"x-hub-signature-256": sign(SECRET, body)}
    signed = hmac.digest(SECRET, b"msg_1." + str(NOW).encode() + b"." + body, hashlib.sha256)
    webhook = standard() | {"webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}

    assert (proof(hub, body=body), proof(webhook, body=body)) == ("hub", "standard")
    assert proof(hub, body=bytes(changed)) is None
    assert proof(webhook, body=bytes(changed)) is None


@unhurried
@given(st.integers(min_value=0, max_value=31), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_of_a_signature_breaks_it(place: int, change: int) -> None:
    changed = bytearray.fromhex(HEX)
    changed[place] ^= change

    assert proof({"x-hub-signature-256": f"sha256={changed.hex()}"}) is None
    assert proof({"x-hub-signature-256": f"sha256={base64.b64encode(changed).decode()}"}) is None


@unhurried
@given(st.dictionaries(
    st.sampled_from(["x-hub-signature-256", "webhook-id", "webhook-timestamp", "webhook-signature", "x-webhook-secret",
                     "authorization"]),
    st.text() | st.from_regex(r"sha256=[0-9a-zA-Z+/=]*|v1,[A-Za-z+/=]*|(Bearer|Basic) \S*|\d{10}"),
))  # fmt: skip
def test_no_header_that_a_stranger_may_write_is_a_proof_or_an_error(headers: dict[str, str]) -> None:
    assert proof(headers) is None
