"""Every row of the tutorial's table of errors, over a real connection."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from crm_sync.sandbox.oauth import OAuthClient
from tests.integration.sandbox.harness import PAYLOAD, Genesys

CONVERSATIONS = "/api/v2/conversations"
CALLS = [
    ("POST", CONVERSATIONS, "conversations:write"),
    ("GET", CONVERSATIONS, "conversations:write"),
    ("GET", f"{CONVERSATIONS}/c-1", "conversations:write"),
    ("POST", f"{CONVERSATIONS}/message/evaluate", "conversations:write"),
    ("POST", "/api/v2/integrations/webhooks", "integrations:write"),
    ("GET", "/api/v2/integrations/webhooks", "integrations:write"),
    ("PUT", "/api/v2/integrations/webhooks/w-1", "integrations:write"),
    ("DELETE", "/api/v2/integrations/webhooks/w-1", "integrations:write"),
    ("POST", "/api/v2/analytics/conversations/details/query", "analytics:conversation:view"),
]


def attributes_of(size: int) -> dict[str, str]:
    """Attributes of exactly this many bytes: `{"k":"` and `"}` are eight, and each ü is two."""
    text = "ü" * ((size - 8) // 2) + "x" * (size % 2)
    return {"k": text}


def refused(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert answer.headers["ININ-Correlation-Id"] == body["contextId"]
    assert set(body) == {"message", "code", "status", "messageParams", "contextId", "details", "errors"}
    return body


def test_forty_kilobytes_of_attributes_are_accepted_and_one_byte_more_is_not(genesys: Genesys) -> None:
    accepted = genesys.call("POST", CONVERSATIONS, PAYLOAD | {"attributes": attributes_of(40_960)})
    over = genesys.call("POST", CONVERSATIONS, PAYLOAD | {"attributes": attributes_of(40_961)})

    assert accepted.status_code == 201
    assert refused(over, 400, "bad.request")["messageParams"] == {"field": "attributes", "limit": "40960"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("to", None),
        ("to", []),
        ("to", [{}]),
        ("to", "bot-id-123"),
        ("from", None),
        ("from", {}),
        ("from", {"id": 5}),
        ("type", None),
        ("type", ""),
        ("routing", {}),
        ("attributes", ["a"]),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named_in_a_400(genesys: Genesys, field: str, value: Any) -> None:
    answer = genesys.call("POST", CONVERSATIONS, PAYLOAD | {field: value})

    assert refused(answer, 400, "bad.request")["messageParams"]["field"] == field
    assert genesys.control.conversations() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"to": NaN}'])
def test_malformed_json_is_a_400(genesys: Genesys, body: bytes) -> None:
    answer = genesys.call("POST", CONVERSATIONS, data=body, headers={"Content-Type": "application/json"})

    refused(answer, 400, "bad.request")


def test_a_body_that_is_not_json_is_a_415(genesys: Genesys) -> None:
    refused(genesys.call("POST", CONVERSATIONS, data="text"), 415, "unsupported.media.type")


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_every_call_answers_401_without_or_with_a_wrong_token_and_403_without_its_scope(
    genesys: Genesys, method: str, path: str, scope: str
) -> None:
    others = {"conversations:write", "analytics:conversation:view", "integrations:write"} - {scope}

    def ask(authorization: str | None) -> requests.Response:
        headers = {} if authorization is None else {"Authorization": authorization}
        return genesys.session.request(method, genesys.url + path, json={}, headers=headers)

    refused(ask(None), 401, "authentication.required")
    refused(ask("Basic abc"), 401, "authentication.required")
    refused(ask("Bearer wrong"), 401, "bad.credentials")
    body = refused(ask(f"Bearer {genesys.token(scope=' '.join(others))}"), 403, "missing.permissions")
    assert body["messageParams"] == {"permissions": scope}
    assert ask(f"Bearer {genesys.token(scope=scope)}").status_code not in (401, 403)


def test_a_scope_that_the_client_lacks_is_missed_at_the_call(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(client=OAuthClient(scopes=("conversations:write",)))
    token = genesys.token(scope="conversations:write integrations:write")

    answer = genesys.session.get(
        f"{genesys.url}/api/v2/integrations/webhooks", headers={"Authorization": f"Bearer {token}"}
    )

    refused(answer, 403, "missing.permissions")


def test_a_token_ends_after_its_time(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(client=OAuthClient(expires_in=0))

    refused(genesys.call("GET", CONVERSATIONS), 401, "bad.credentials")


def test_a_token_ends_on_demand_and_a_new_one_works(genesys: Genesys) -> None:
    headers = {"Authorization": f"Bearer {genesys.token()}"}
    genesys.control.expire_tokens()

    refused(genesys.call("GET", CONVERSATIONS, headers=headers), 401, "bad.credentials")
    assert genesys.call("GET", CONVERSATIONS).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "stränger"}, 401, "invalid_client"),
        ({"client_secret": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_the_token_endpoint_answers_in_the_form_of_oauth(
    genesys: Genesys, form: dict[str, str], status: int, error: str
) -> None:
    asked = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret"} | form

    answer = genesys.session.post(f"{genesys.url}/oauth/token", data=asked)

    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert set(answer.json()) == {"error", "description", "error_description"}


def test_the_token_endpoint_takes_basic_credentials_too_and_only_a_form(genesys: Genesys) -> None:
    address, form = f"{genesys.url}/oauth/token", {"grant_type": "client_credentials"}

    granted = genesys.session.post(address, data=form, auth=("sandbox", "sandbox-secret"))
    stranger = genesys.session.post(address, data=form, auth=("sandbox", "wrong"))
    as_json = genesys.session.post(address, json=form, auth=("sandbox", "sandbox-secret"))

    assert granted.json()["token_type"] == "bearer"
    assert granted.json()["expires_in"] == 3600
    assert stranger.status_code == 401
    assert as_json.status_code == 400


@pytest.mark.parametrize("retry_after", [None, 1, "Wed, 21 Oct 2015 07:28:00 GMT", "rubbish"])
def test_429_comes_with_and_without_retry_after(genesys: Genesys, retry_after: int | str | None) -> None:
    genesys.control.add_fault(
        path=CONVERSATIONS, method="POST", status=429, times=2, **({"retry_after": retry_after} if retry_after else {})
    )

    answers = [genesys.call("POST", CONVERSATIONS, PAYLOAD) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 201]
    refused(answers[0], 429, "too.many.requests")
    assert answers[0].headers.get("Retry-After") == (None if retry_after is None else str(retry_after))


@pytest.mark.parametrize(("status", "code"), [(500, "internal.server.error"), (503, "service.unavailable")])
def test_a_failure_comes_on_demand_and_does_nothing(genesys: Genesys, status: int, code: str) -> None:
    genesys.control.add_fault(path=CONVERSATIONS, status=status)

    refused(genesys.call("POST", CONVERSATIONS, PAYLOAD), status, code)
    assert genesys.control.conversations() == []


def test_a_gateway_may_answer_with_a_page(genesys: Genesys) -> None:
    genesys.control.add_fault(path="/api/*", status=502, html=True)

    answer = genesys.call("GET", CONVERSATIONS)

    assert answer.status_code == 502
    assert answer.headers["Content-Type"].startswith("text/html")


def test_a_fault_troubles_no_other_path_or_method(genesys: Genesys) -> None:
    genesys.control.add_fault(path=CONVERSATIONS, method="POST", status=500, times=None)

    assert genesys.call("GET", CONVERSATIONS).status_code == 200
    assert genesys.call("POST", "/api/v2/integrations/webhooks").status_code == 415
    assert genesys.call("POST", CONVERSATIONS, PAYLOAD).status_code == 500
    genesys.control.clear_faults()
    assert genesys.call("POST", CONVERSATIONS, PAYLOAD).status_code == 201


def test_a_lost_answer_leaves_the_thing_done(genesys: Genesys) -> None:
    genesys.control.add_fault(path=CONVERSATIONS, method="POST", lose_answer=True)

    with pytest.raises(requests.ConnectionError):
        genesys.call("POST", CONVERSATIONS, PAYLOAD)

    assert genesys.call("GET", CONVERSATIONS).json()["total"] == 1


def test_a_delayed_answer_outlasts_a_client_that_is_in_a_hurry(genesys: Genesys) -> None:
    token = genesys.token()
    genesys.control.add_fault(path=CONVERSATIONS, delay_seconds=60)

    with pytest.raises(requests.ReadTimeout):
        genesys.session.get(genesys.url + CONVERSATIONS, headers={"Authorization": f"Bearer {token}"}, timeout=0.2)


def test_unknown_paths_and_verbs_are_errors_of_the_same_form(genesys: Genesys) -> None:
    refused(genesys.call("GET", "/api/v2/unknown"), 404, "not.found")
    refused(genesys.call("PATCH", CONVERSATIONS), 405, "method.not.allowed")
    refused(genesys.call("GET", f"{CONVERSATIONS}/unknown"), 404, "not.found")


def test_a_control_call_that_makes_no_sense_is_refused(genesys: Genesys) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.add_fault(stauts=500)
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.end(genesys.start(), endTime="soon")
    with pytest.raises(requests.HTTPError, match="404"):
        genesys.control.end("unknown")
