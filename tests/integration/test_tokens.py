"""Who may read: tokens of each role on every route, and what of a token is kept."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from crm_sync.app import create_app
from crm_sync.errors import NotFound
from crm_sync.services import Services
from crm_sync.store import tokens
from tests.integration.readers import Caller, caller, service

OPEN = None
"""Needs no token: the webhook has its own proof of origin, the others tell nothing of a customer."""

MATRIX: dict[tuple[str, str], str | None] = {
    ("POST", "/webhooks/genesys"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/api/v1/closures"): "reader",
    ("GET", "/api/v1/closures/<conversation_id>"): "reader",
    ("GET", "/api/v1/closures/<conversation_id>/audit"): "reader",
    ("GET", "/api/v1/reports/resolution"): "reader",
    ("POST", "/api/v1/sessions"): "operator",
    ("POST", "/api/v1/sessions/<session_id>/turns"): "operator",
    ("GET", "/api/v1/sessions/<session_id>"): "reader",
}
"""What each route needs. A new route is declared here, or the test fails."""

RANK = {None: 0, "reader": 1, "operator": 2}


@pytest.fixture
def services(migrated_url: str) -> Iterator[Services]:
    """The services on an empty, migrated database."""
    with service(migrated_url) as opened:
        yield opened


def test_every_route_asks_for_the_role_that_is_declared_for_it(services: Services) -> None:
    application = create_app(services)
    client = application.test_client()
    with services.database.write() as connection:
        made = {role: tokens.create(connection, name="test", role=role) for role in ("reader", "operator")}
        revoked = tokens.create(connection, name="test", role="operator")
        tokens.revoke(connection, max(token.id for token in tokens.rows(connection)))
    callers = {"anonymous": (None, None), "revoked": (revoked, None)}
    callers |= {role: (token, role) for role, token in made.items()}
    routes = [
        (method, rule.rule)
        for rule in application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint != "static"
    ]

    assert sorted(routes) == sorted(MATRIX)
    for (method, rule), needed in MATRIX.items():
        path = re.sub(r"<[^>]*>", "x", rule)
        for who, (token, role) in callers.items():
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            status = client.open(path, method=method, headers=headers).status_code
            if needed is None:
                continue
            expected = 401 if role is None else 403 if RANK[role] < RANK[needed] else None
            assert (status if status in (401, 403) else None) == expected, (method, rule, who)


NO_PROOF = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer crm_",
    "Bearer crm_" + "A" * 43,
    "Bearer crm_" + "A" * 44,
    "Bearer crm_" + "A" * 65_536,
    "Basic Y3JtOnN5bmM=",
    "Bearer crm_é" + "A" * 42,
    "Bearer '; DROP TABLE tokens; --",
]


def test_without_a_valid_token_the_answer_is_401_and_how_to_prove_oneself(services: Services) -> None:
    client = create_app(services).test_client()
    for header in NO_PROOF:
        headers = {} if header is None else {"Authorization": header.encode().decode("latin-1")}

        answer = client.get("/api/v1/closures", headers=headers)

        assert answer.status_code == 401, header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.get_json()["error"].endswith(".")


def test_all_refused_tokens_are_answered_alike(services: Services) -> None:
    client = create_app(services).test_client()
    with services.database.write() as connection:
        revoked = tokens.create(connection, name="x", role="reader")
        tokens.revoke(connection, tokens.rows(connection)[0].id)

    bodies = {
        client.get("/api/v1/closures", headers={"Authorization": f"Bearer {token}"}).data
        for token in (revoked, "crm_" + "A" * 43, "x")
    }

    assert len(bodies) == 1


def test_a_token_in_the_address_is_no_token(services: Services) -> None:
    with services.database.write() as connection:
        token = tokens.create(connection, name="x", role="operator")

    assert Caller(services, None).get("/api/v1/closures", access_token=token).status_code == 401


def test_a_revoked_token_is_refused_from_the_next_request_on(services: Services) -> None:
    reader = caller(services)
    assert reader.get("/api/v1/closures").status_code == 200

    with services.database.write() as connection:
        tokens.revoke(connection, tokens.rows(connection)[0].id)

    assert reader.get("/api/v1/closures").status_code == 401


def test_only_the_digest_of_a_token_is_kept(services: Services) -> None:
    with services.database.write() as connection:
        token = tokens.create(connection, name="reports", role="reader")
        kept = connection.execute(text("SELECT * FROM tokens")).one()

    assert re.fullmatch(r"crm_[A-Za-z0-9_-]{43}", token)
    assert token not in str(kept) and token.removeprefix("crm_") not in str(kept)


def test_a_token_is_found_by_its_whole_self_only(services: Services) -> None:
    with services.database.write() as connection:
        token = tokens.create(connection, name="x", role="operator")
        other = tokens.create(connection, name="x", role="reader")

        assert token != other
        assert tokens.find(connection, token) == "operator"
        assert tokens.find(connection, other) == "reader"
        assert tokens.find(connection, token[:-1]) is None
        assert tokens.find(connection, token.swapcase()) is None


def test_a_token_is_revoked_once(services: Services) -> None:
    with services.database.write() as connection:
        tokens.create(connection, name="x", role="reader")
        token_id = tokens.rows(connection)[0].id
        tokens.revoke(connection, token_id)

        with pytest.raises(NotFound):
            tokens.revoke(connection, token_id)
        with pytest.raises(NotFound):
            tokens.revoke(connection, token_id + 1)
