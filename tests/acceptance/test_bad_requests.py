"""Requests that are wrong, unproven, too large or too slow: none is stored unproven, none is answered with a 5xx."""

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.harness import SECRET, World
from tests.acceptance.sender import PATH, PROOFS, Sender, conversation, event, hub_hex, standard

LIMIT = 262_144
CONVERSATION = "11111111-2222-3333-4444-555555555555"


def of_size(size: int) -> bytes:
    """Return an event whose body has exactly this many bytes."""
    body = json.dumps(event("customer.end", subject="")).encode()
    return body.replace(b'"subject": ""', b'"subject": "' + b"x" * (size - len(body)) + b'"')


def raw(world: World, head: str, body: bytes = b"") -> socket.socket:
    """Send bytes as they are and return the connection."""
    address = urlsplit(world.web_url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
    connection.sendall(head.replace("\n", "\r\n").encode() + body)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    """Return everything that comes until the server closes the connection."""
    received = b""
    with connection:
        while data := connection.recv(65_536):
            received += data
    return received


def head_of(body: bytes, *lines: str) -> str:
    signature = hub_hex(body)["X-Hub-Signature-256"]
    lines = (f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json", "Connection: close",
             f"X-Hub-Signature-256: {signature}", *lines)  # fmt: skip
    return "\n".join(lines) + "\n\n"


def chunked(body: bytes) -> bytes:
    parts = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def stranger(header: str, value: str | bytes) -> Any:
    return pytest.param({header: value}, id=f"{header}: {value[:24]!r}")


BODY = json.dumps(event("customer.end")).encode()
RIGHT = hub_hex(BODY)["X-Hub-Signature-256"]
OLD = datetime.now(UTC) - timedelta(minutes=10)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        stranger("X-Hub-Signature-256", ""),
        stranger("X-Hub-Signature-256", "sha256="),
        stranger("X-Hub-Signature-256", RIGHT.removeprefix("sha256=")),
        stranger("X-Hub-Signature-256", RIGHT.replace("sha256", "sha1")),
        stranger("X-Hub-Signature-256", RIGHT[:-1]),
        stranger("X-Hub-Signature-256", RIGHT[:-1] + ("0" if RIGHT[-1] != "0" else "1")),
        stranger("X-Hub-Signature-256", f"{RIGHT}, {RIGHT}"),
        stranger("X-Hub-Signature-256", b"sha256=\xff\xfe"),
        stranger("X-Hub-Signature-256", "sha256=" + "a" * 7_000),
        stranger("X-Webhook-Secret", ""),
        stranger("X-Webhook-Secret", "wrong"),
        stranger("X-Webhook-Secret", SECRET[:-1]),
        stranger("X-Webhook-Secret", SECRET + "x"),
        stranger("X-Webhook-Secret", SECRET.upper()),
        stranger("X-Webhook-Secret", SECRET.encode() + b"\xe9"),
        stranger("Authorization", ""),
        stranger("Authorization", "Bearer"),
        stranger("Authorization", "Bearer wrong"),
        stranger("Authorization", f"Bearer: {SECRET}"),
        stranger("Authorization", f"Bearer x{SECRET}"),
        stranger("Authorization", "Basic !!!"),
        stranger("Authorization", "Basic Z2VuZXN5czp3cm9uZw=="),
        pytest.param(standard(BODY, at=OLD), id="a signature of ten minutes ago"),
        pytest.param(standard(BODY) | {"webhook-id": "another"}, id="a signature of another message"),
        pytest.param(standard(BODY) | {"webhook-timestamp": "9" * 40}, id="an endless timestamp"),
    ],
)
def test_without_a_right_proof_nothing_is_stored(
    shared: World, sender: Sender, headers: dict[str, str | bytes]
) -> None:
    before = shared.counts()
    answer = sender.post_raw(BODY, headers)

    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}
    assert shared.counts() == before


def test_a_proof_of_another_body_proves_nothing(shared: World, sender: Sender) -> None:
    for name in ("hub hex", "hub base64", "standard"):
        assert sender.post_raw(BODY + b" ", PROOFS[name](BODY)).status_code == 401
    assert shared.counts()["events"] == 0


def test_the_largest_body_is_accepted_and_one_byte_more_is_not(shared: World, sender: Sender) -> None:
    over = sender.post(of_size(LIMIT + 1))

    assert over.status_code == 413
    assert shared.counts()["events"] == 0
    assert sender.status(of_size(LIMIT)) == "accepted"


def test_the_limit_holds_for_chunked_bodies_too(shared: World, sender: Sender) -> None:
    over, largest = of_size(LIMIT + 1), of_size(LIMIT)
    refused = answer_of(raw(shared, head_of(over, "Transfer-Encoding: chunked"), chunked(over)))
    stored = shared.counts()["events"]
    accepted = answer_of(raw(shared, head_of(largest, "Transfer-Encoding: chunked"), chunked(largest)))

    assert refused.startswith(b"HTTP/1.1 413 ")
    assert stored == 0
    assert accepted.startswith(b"HTTP/1.1 202 ")
    assert shared.counts()["events"] == 1


def test_a_length_that_is_announced_too_large_is_refused_before_the_body_comes(shared: World, sender: Sender) -> None:
    assert answer_of(raw(shared, head_of(b"", f"Content-Length: {LIMIT + 1}"))).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("length", "body"),
    [
        pytest.param(f"Content-Length: {len(BODY) + 1}", BODY, id="with a length"),
        pytest.param("Transfer-Encoding: chunked", chunked(BODY)[: -len("\r\n0\r\n\r\n")], id="within a chunk"),
        pytest.param("Transfer-Encoding: chunked", chunked(BODY)[: -len("0\r\n\r\n")], id="between chunks"),
        pytest.param("Transfer-Encoding: chunked", b"rubbish\r\n", id="no chunk at all"),
    ],
)
def test_a_body_that_breaks_off_is_a_400_and_not_stored(
    shared: World, sender: Sender, length: str, body: bytes
) -> None:
    connection = raw(shared, head_of(BODY, length), body)
    connection.shutdown(socket.SHUT_WR)

    assert answer_of(connection).startswith(b"HTTP/1.1 400 ")
    assert shared.counts()["events"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
    ],
    ids=str,
)
def test_what_is_not_plain_json_is_a_415_and_not_stored(shared: World, sender: Sender, headers: dict[str, str]) -> None:
    assert sender.post(BODY, **headers).status_code == 415
    assert shared.counts()["events"] == 0


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/cloudevents+json"])
def test_json_under_its_other_names_is_accepted(sender: Sender, content_type: str) -> None:
    assert sender.post(BODY, **{"Content-Type": content_type}).json()["status"] == "accepted"


def test_what_is_authentic_and_no_json_is_kept_as_it_came_and_can_be_replayed(shared: World, sender: Sender) -> None:
    bodies = [b"not json", b"", b'{"half": ', b"\xff\xfe\x00", b'\xef\xbb\xbf{"id": "with a mark"}', b'{"a": "\x00"}']
    statuses = [sender.status(body) for body in bodies]
    replayed = shared.crm_sync("replay", "--json")

    assert statuses == ["quarantined"] * len(bodies)
    assert {row["body"] for row in shared.rows("SELECT body FROM events WHERE status = 'quarantined'")} == set(bodies)
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout) | {"accepted": 0} == json.loads(replayed.stdout)
    assert json.loads(replayed.stdout)["read"] == len(bodies)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_refused(sender: Sender, method: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, sender.url, data=BODY, headers=hub_hex(BODY), timeout=30)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["X-Webhook-Secret: " + "s" * 65_536], id="a secret of 64 KB"),
        pytest.param([f"X-{number}: x" for number in range(10_000)], id="10,000 headers"),
        pytest.param([f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"], id="two lengths"),
        pytest.param([f"Content-Length: {len(BODY)}", "Content-Length: 5"], id="two different lengths"),
        pytest.param(["Content-Length: -1"], id="a negative length"),
        pytest.param([f"Content-Length : {len(BODY)}"], id="a space before the colon"),
    ],
)
def test_headers_that_no_honest_sender_writes_are_refused(shared: World, sender: Sender, lines: list[str]) -> None:
    answer = answer_of(raw(shared, head_of(BODY, *lines), BODY))

    assert answer[9:12] in (b"400", b"431")
    assert shared.counts()["events"] == 0


def changed(**changes: Any) -> bytes:
    return json.dumps(event("customer.end", conversationId=CONVERSATION, **changes)).encode()


def told(**changes: Any) -> bytes:
    return json.dumps(conversation(CONVERSATION, **changes)).encode()


def in_raw(name: str, value: str) -> bytes:
    """Return an event with this JSON text in the place of a field's value."""
    return changed(**{name: "HERE"}).replace(b'"HERE"', value.encode())


NEXT_WEEK = datetime.now(UTC) + timedelta(days=7)
STORED = {"closed": 1, "resolution": "unknown"}


@pytest.mark.parametrize(
    ("body", "status", "stored"),
    [
        pytest.param(changed(provider="a\0b"), "accepted", {"provider": "a\ufffdb", "text_altered": 1}, id="NUL"),
        pytest.param(in_raw("provider", '"a\\u0000b"'), "accepted", {"provider": "a\ufffdb"}, id="escaped NUL"),
        pytest.param(in_raw("provider", '"a\\ud800b"'), "quarantined", None, id="half a surrogate"),
        pytest.param(in_raw("provider", '"\\ud83d\\ude00"'), "accepted", {"provider": "\U0001f600"}, id="a whole one"),
        pytest.param(in_raw("interactingDurationMs", "NaN"), "quarantined", None, id="NaN"),
        pytest.param(in_raw("interactingDurationMs", "-Infinity"), "quarantined", None, id="Infinity"),
        pytest.param(in_raw("interactingDurationMs", "1e999"), "quarantined", None, id="1e999"),
        pytest.param(in_raw("interactingDurationMs", "9" * 5_000), "quarantined", None, id="5,000 digits"),
        pytest.param(in_raw("interactingDurationMs", str(2**63)), "quarantined", None, id="2^63"),
        pytest.param(in_raw("subject", "[" * 100_000 + "]" * 100_000), "quarantined", None, id="depth 100,000"),
        pytest.param(in_raw("subject", "[" * 70 + "]" * 70), "quarantined", None, id="depth 70"),
        pytest.param(in_raw("subject", "[" + "0," * 20_000 + "0]"), "quarantined", None, id="20,000 values"),
        pytest.param(changed(eventTime=None), "quarantined", None, id="no time"),
        pytest.param(changed(eventTime=True), "quarantined", None, id="a truth as time"),
        pytest.param(changed(eventTime=[1]), "quarantined", None, id="a list as time"),
        pytest.param(changed(eventTime="2022-04-06T09:31:44.949"), "quarantined", None, id="a time without its zone"),
        pytest.param(changed(eventTime="2022-04-06T11:31:44.949+02:00"), "accepted", STORED, id="a time with its zone"),
        pytest.param(changed(eventTime="0000-01-01T00:00:00Z"), "quarantined", None, id="year 0"),
        pytest.param(changed(eventTime="0001-01-01T00:00:00+14:00"), "quarantined", None, id="before year 1"),
        pytest.param(changed(eventTime="10000-01-01T00:00:00Z"), "quarantined", None, id="year 10000"),
        pytest.param(changed(eventTime=10**18), "quarantined", None, id="nanoseconds"),
        pytest.param(changed(eventTime=-1), "quarantined", None, id="before 1970"),
        pytest.param(changed(eventTime=int(NEXT_WEEK.timestamp() * 1000)), "quarantined", None, id="next week"),
        pytest.param(changed(sessionId={"id": 1}), "quarantined", None, id="an object as session"),
        pytest.param(changed(mediaType=7), "quarantined", None, id="a number as medium"),
        pytest.param(changed(mediaType="HOLOGRAM"), "accepted", {"media_type": "unknown"}, id="a new medium"),
        pytest.param(
            changed(disconnectType="LATER"), "accepted", {"disconnect_type": "unknown"}, id="a new disconnect"
        ),
        pytest.param(changed(news={"a": [1]}), "accepted", STORED, id="a new field"),
        pytest.param(changed(divisionId="d" * 201), "quarantined", None, id="an endless id"),
        pytest.param(changed(conversationExternalContactIds="c"), "quarantined", None, id="a text as list"),
        pytest.param(told(id=5), "quarantined", None, id="a number as id"),
        pytest.param(told(attributes=["a"]), "quarantined", None, id="a list as attributes"),
        pytest.param(
            told(attributes={"a\0": "\0"}), "accepted", {"attributes": {"a\ufffd": "\ufffd"}}, id="NUL in a key"
        ),
        pytest.param(told(to="bot"), "quarantined", None, id="a text as parties"),
        pytest.param(told(endTime="10000-01-01T00:00:00Z"), "quarantined", None, id="the end in year 10000"),
        pytest.param(told(endTime="yesterday"), "quarantined", None, id="a word as end"),
        pytest.param(told(endTime=NEXT_WEEK.isoformat()), "quarantined", None, id="the end next week"),
        pytest.param(
            told(resolutionStatus="mended"),
            "accepted",
            STORED | {"resolution_reason": "mended", "resolution_final": 0},
            id="a resolution that nobody explained",
        ),
        pytest.param(told(resolutionStatus=5), "quarantined", None, id="a number as resolution"),
        pytest.param(b'{"id": "x", "id": "y", "state": "closed"}', "quarantined", None, id="an id twice"),
        pytest.param(b'"text"', "ignored", None, id="only a text"),
        pytest.param(b"null", "ignored", None, id="null"),
        pytest.param(b"{}", "ignored", None, id="an empty object"),
    ],
)
def test_hostile_values_are_stored_alike_on_both_engines_or_kept_apart(
    shared: World, sender: Sender, body: bytes, status: str, stored: dict[str, Any] | None
) -> None:
    said = sender.status(body)
    events = shared.rows("SELECT status, body FROM events")
    closures = shared.rows("SELECT * FROM closures")

    assert said == status
    assert events == [{"status": status, "body": body}]
    assert [{name: row[name] for name in stored or {}} for row in closures] == ([] if stored is None else [stored])


def test_an_array_with_one_bad_element_loses_none_of_the_others(shared: World, sender: Sender) -> None:
    elements = [event("customer.end", conversationId=f"c-{number}") for number in range(3)]
    elements[1]["eventTime"] = "never"

    assert [told["status"] for told in sender.post(elements).json()["results"]] == [
        "accepted",
        "quarantined",
        "accepted",
    ]
    assert len(shared.rows("SELECT * FROM closures")) == 2
