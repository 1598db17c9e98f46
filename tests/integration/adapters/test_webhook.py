"""The signed webhook: what travels, who can verify it, and what is made of the answers."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from crm_sync.adapters.contract import Outcome, Receipt
from crm_sync.adapters.webhook import WebhookAdapter, WebhookOptions
from crm_sync.errors import AdapterFailure, Kind, SettingsError
from crm_sync.testing.core import make_push, push_once
from crm_sync.testing.server import Answer, PretendServer
from crm_sync.transport import HTTPTransport

NEW, OLD, OTHER = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


@pytest.fixture
def server() -> Iterator[PretendServer]:
    with PretendServer(lambda request: Answer(status=204)) as server:
        yield server


@pytest.fixture
def adapter(server: PretendServer) -> Iterator[WebhookAdapter]:
    with closing(build(server, secrets=[NEW, OLD])) as adapter:
        yield adapter


def build(server: PretendServer, **options: Any) -> WebhookAdapter:
    given = {"url": server.url, "secrets": NEW, "allow_private_addresses": True, **options}
    return WebhookAdapter.from_options(given, fields=(), worker_deadline_seconds=2)


def push(adapter: WebhookAdapter, *, known_id: str | None = None, **fields: Any) -> Receipt:
    [receipt] = push_once(adapter, [adapter.prepare(make_push("c-1", 7, fields, known_id=known_id))])
    return receipt


def saying(server: PretendServer, said: Mapping[str, Any], *, status: int = 200) -> None:
    server.script.append(Answer(status=status, body=json.dumps(said).encode()))


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_each_secret_verifies_while_one_replaces_the_other(
    server: PretendServer, adapter: WebhookAdapter, secret: str
) -> None:
    push(adapter, Subject="\N{SNOWMAN}")

    [request] = server.requests
    message = Webhook(secret).verify(request.body, dict(request.headers))
    assert message["data"]["Subject"] == "\N{SNOWMAN}"
    assert len(request.headers["webhook-signature"].split(" ")) == 2


def test_another_secret_does_not_verify(server: PretendServer, adapter: WebhookAdapter) -> None:
    push(adapter)

    [request] = server.requests
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(request.body, dict(request.headers))


def test_a_changed_byte_anywhere_does_not_verify(server: PretendServer, adapter: WebhookAdapter) -> None:
    push(adapter, Subject="as it was")

    [request] = server.requests
    for index in range(len(request.body)):
        changed = bytearray(request.body)
        changed[index] ^= 1
        with pytest.raises((WebhookVerificationError, UnicodeError)):
            Webhook(NEW).verify(bytes(changed), dict(request.headers))


def test_a_changed_id_or_time_does_not_verify(server: PretendServer, adapter: WebhookAdapter) -> None:
    push(adapter)

    [request] = server.requests
    sent_at = int(request.headers["webhook-timestamp"])
    for changed in ({"webhook-id": "another"}, {"webhook-timestamp": str(sent_at + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW).verify(request.body, {**request.headers, **changed})


def test_the_message_names_event_instant_conversation_and_version(
    server: PretendServer, adapter: WebhookAdapter
) -> None:
    push(adapter, Subject="Hello", version="what a mapping made of it", conversation_id="another")

    [request] = server.requests
    assert json.loads(request.body) == {
        "type": "conversation.closed",
        "timestamp": "2024-01-15T10:34:12.250Z",
        "data": {"Subject": "Hello", "conversation_id": "c-1", "version": 7},
    }


def test_a_reopening_is_told_as_one(adapter: WebhookAdapter) -> None:
    prepared = adapter.prepare(make_push("c-1", 7, {}, closed=False))

    assert prepared.record["type"] == "conversation.reopened"


def test_each_attempt_has_the_same_id_and_body_and_its_own_time(server: PretendServer) -> None:
    instants = iter([datetime(2024, 1, 15, tzinfo=UTC) + timedelta(hours=n) for n in range(9)])
    options = WebhookOptions.model_validate({"url": server.url, "secrets": NEW})
    adapter = WebhookAdapter(options, transport=HTTPTransport(allow_private=True), now=lambda: next(instants))

    with closing(adapter):
        push(adapter)
        push(adapter)

    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == make_push("c-1", 7, {}).push_key
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 3600


def test_the_receiver_can_say_what_it_did(server: PretendServer, adapter: WebhookAdapter) -> None:
    saying(server, {"outcome": "skipped", "id": 4711, "url": "https://crm.example.invalid/4711"})

    receipt = push(adapter)

    assert (receipt.outcome, receipt.record_id) == (Outcome.SKIPPED, "4711")
    assert receipt.url == "https://crm.example.invalid/4711"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"outcome": "failed"},
        {"outcome": 7, "id": ["x"], "url": 7},
        {"id": "x" * 201, "url": "https://" + "x" * 2000},
        {"id": "a\nb", "url": "javascript:alert(1)"},
        {"id": "", "url": ""},
        {"id": True},
    ],
)
def test_what_it_says_beyond_reason_is_left_out(
    server: PretendServer, adapter: WebhookAdapter, said: dict[str, Any]
) -> None:
    saying(server, said)
    saying(server, said)

    assert push(adapter) == Receipt(push_key=make_push("c-1", 7, {}).push_key, outcome=Outcome.CREATED, record_id="c-1")
    assert push(adapter, known_id="k-1").record_id == "k-1"


@pytest.mark.parametrize("body", [b"", b"ok", b"<html>", b"[1]", b"null", b"\xff\xfe"])
def test_a_2xx_that_says_nothing_is_done(server: PretendServer, adapter: WebhookAdapter, body: bytes) -> None:
    server.script.extend([Answer(status=202, body=body), Answer(status=202, body=body)])

    assert push(adapter).outcome is Outcome.CREATED
    assert push(adapter, known_id="c-1").outcome is Outcome.UPDATED


def test_a_refused_record_names_its_field_but_quotes_nothing(server: PretendServer, adapter: WebhookAdapter) -> None:
    saying(server, {"field": "Subject", "message": "words of a customer"}, status=422)
    saying(server, {"field": "words of a customer"}, status=400)

    named, unnamed = push(adapter).fault, push(adapter).fault

    assert named and (named.kind, named.field) == (Kind.DATA, "Subject")
    assert unnamed and (unnamed.kind, unnamed.field) == (Kind.DATA, None)
    assert "customer" not in repr(named)


def test_an_endpoint_that_is_gone_is_raised(server: PretendServer, adapter: WebhookAdapter) -> None:
    server.script.append(Answer(status=410))

    with pytest.raises(AdapterFailure) as caught:
        adapter.push([adapter.prepare(make_push("c-1", 7, {}))])

    assert caught.value.fault.kind is Kind.GONE


def test_trouble_with_the_receiver_stops_a_batch_and_trouble_with_a_record_does_not(
    server: PretendServer, adapter: WebhookAdapter
) -> None:
    server.script.extend([Answer(status=422), Answer(status=200), Answer(status=503)])
    batch = [adapter.prepare(make_push(f"c-{number}", 7, {})) for number in range(5)]

    receipts = adapter.push(batch)

    assert [receipt.fault and receipt.fault.code for receipt in receipts] == [
        "http_422",
        None,
        "http_503",
        "not_sent",
        "not_sent",
    ]
    assert len(server.requests) == 3


def test_a_push_key_that_no_header_can_hold_harms_only_itself(server: PretendServer, adapter: WebhookAdapter) -> None:
    evil = replace(make_push("c-1", 7, {}), push_key="c-1\r\nx-evil: 1")

    [refused, sent] = adapter.push([adapter.prepare(evil), adapter.prepare(make_push("c-2", 7, {}))])

    assert refused.fault and refused.fault.kind is Kind.DATA
    assert sent.fault is None
    assert len(server.requests) == 1


def test_a_conversation_id_that_no_header_can_hold_arrives_all_the_same(
    server: PretendServer, adapter: WebhookAdapter
) -> None:
    [sent] = adapter.push([adapter.prepare(make_push("Gespräch 1\n", 7, {}))])

    assert sent.fault is None
    assert json.loads(server.requests[0].body)["data"]["conversation_id"] == "Gespräch 1\n"


def test_a_private_address_is_refused_unless_it_is_allowed(server: PretendServer) -> None:
    with closing(build(server, allow_private_addresses=False)) as adapter:
        receipt = push(adapter)

    assert receipt.fault and (receipt.fault.kind, receipt.fault.code) == (Kind.CONFIG, "address_refused")
    assert server.requests == []


def test_a_preview_shows_the_message_and_no_secret(server: PretendServer) -> None:
    with closing(build(server, url=f"{server.url}/in-the-path?key=in-the-query")) as adapter:
        text = adapter.render([adapter.prepare(make_push("c-1", 7, {"Subject": "Hello"}))])

    assert '"Subject":"Hello"' in text
    assert "POST to 127.0.0.1" in text
    assert "in-the" not in text


def test_plain_http_is_found_but_not_fatal(server: PretendServer) -> None:
    with closing(build(server)) as plain, closing(build(server, url="https://crm.example.invalid")) as secure:
        assert [finding.is_fatal for finding in plain.check()] == [False]
        assert secure.check() == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"secrets": NEW}, "url is missing"),
        ({"url": "https://a.invalid"}, "secrets is missing"),
        ({"url": "https://a.invalid", "secrets": []}, "secrets is not usable"),
        ({"url": "https://a.invalid", "secrets": "plain"}, "secrets.0 is not usable: a secret is whsec_"),
        ({"url": "https://a.invalid", "secrets": "whsec_c2hvcnQ="}, "secrets.0 is not usable: a secret has 24 to 64"),
        ({"url": "ftp://a.invalid", "secrets": NEW}, "url must be an absolute http or https address"),
        ({"url": "https://u:p@a.invalid", "secrets": NEW}, "url must be an absolute http or https address"),
        ({"url": "https://[a", "secrets": NEW}, "url must be an absolute http or https address"),
    ],
)
def test_a_wrong_setting_is_told_in_words(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        WebhookAdapter.from_options(options, fields=(), worker_deadline_seconds=20)

    assert [told for told in caught.value.faults if told.startswith(fault)]


def test_several_secrets_may_be_written_as_one_text(server: PretendServer) -> None:
    with closing(build(server, secrets=f"{NEW}, {OLD}")) as adapter:
        push(adapter)

    assert len(server.requests[0].headers["webhook-signature"].split(" ")) == 2
