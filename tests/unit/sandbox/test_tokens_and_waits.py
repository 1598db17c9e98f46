"""When a token of the pretend Genesys Cloud ends, and how long its poster waits."""

import pytest
from flask import Flask

from crm_sync.sandbox.oauth import OAuthClient, Tokens
from crm_sync.sandbox.poster import Manner
from crm_sync.sandbox.problems import Problem


def test_a_token_is_in_force_until_its_last_second_and_not_longer() -> None:
    time = 1000.0
    client = OAuthClient(expires_in=60)
    tokens = Tokens(client, monotonic=lambda: time)
    token = tokens.issue(client.client_id, client.client_secret, "")
    check = tokens.guard("conversations:write")

    with Flask("any").test_request_context(headers={"Authorization": f"Bearer {token}"}):
        time = 1059.9
        check()
        time = 1060.0
        with pytest.raises(Problem, match="expired"):
            check()


def test_a_permission_is_asked_of_the_client_and_not_of_the_scopes_of_its_token() -> None:
    client = OAuthClient(permissions=frozenset({"processautomation:trigger:view"}))
    tokens = Tokens(client, monotonic=lambda: 0.0)
    token = tokens.issue(client.client_id, client.client_secret, "")

    with Flask("any").test_request_context(headers={"Authorization": f"Bearer {token}"}):
        tokens.require("processautomation:trigger:view", "processautomation:trigger:edit")
        with pytest.raises(Problem) as refused:
            tokens.require("processautomation:trigger:add")

    assert (refused.value.status, refused.value.code) == (403, "missing.permissions")
    assert refused.value.params == {"permissions": "processautomation:trigger:add"}


def test_of_several_permissions_that_would_do_all_are_named() -> None:
    client = OAuthClient(permissions=frozenset())
    tokens = Tokens(client, monotonic=lambda: 0.0)
    token = tokens.issue(client.client_id, client.client_secret, "")

    headers = {"Authorization": f"Bearer {token}"}
    with Flask("any").test_request_context(headers=headers), pytest.raises(Problem) as refused:
        tokens.require("a:b:view", "a:b:edit")

    assert refused.value.code == "missing.any.permissions"
    assert refused.value.params == {"permissions": "a:b:view, a:b:edit"}


def test_a_client_without_a_list_of_permissions_has_all_but_needs_a_token() -> None:
    tokens = Tokens(OAuthClient(), monotonic=lambda: 0.0)
    token = tokens.issue("sandbox", "sandbox-secret", "")

    with Flask("any").test_request_context(headers={"Authorization": f"Bearer {token}"}):
        tokens.require("any:thing:view")
    with Flask("any").test_request_context(), pytest.raises(Problem) as refused:
        tokens.require("any:thing:view")

    assert refused.value.status == 401


def test_a_stranger_gets_no_token() -> None:
    tokens = Tokens(OAuthClient(), monotonic=lambda: 0.0)

    assert tokens.issue("sandbox", "wrong", "") is None
    assert tokens.issue("wrong", "sandbox-secret", "") is None


def test_waits_double_up_to_the_longest() -> None:
    manner = Manner(first_wait_seconds=0.2, longest_wait_seconds=1.0)

    assert [manner.wait_after(attempt) for attempt in range(1, 6)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_no_secret_shows_in_a_repr() -> None:
    assert "hush" not in repr(OAuthClient(client_secret="hush"))
