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


def test_a_stranger_gets_no_token() -> None:
    tokens = Tokens(OAuthClient(), monotonic=lambda: 0.0)

    assert tokens.issue("sandbox", "wrong", "") is None
    assert tokens.issue("wrong", "sandbox-secret", "") is None


def test_waits_double_up_to_the_longest() -> None:
    manner = Manner(first_wait_seconds=0.2, longest_wait_seconds=1.0)

    assert [manner.wait_after(attempt) for attempt in range(1, 6)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_no_secret_shows_in_a_repr() -> None:
    assert "hush" not in repr(OAuthClient(client_secret="hush"))
