"""`crm-sync token`: made once, listed without itself, revoked at once."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from crm_sync.store import tokens
from crm_sync.store.engine import Database

Command = Callable[..., Result]


def role_of(url: str, token: str) -> str | None:
    """Return the role that a token has now."""
    database = Database(url)
    try:
        with database.read() as connection:
            return tokens.find(connection, token)
    finally:
        database.close()


@pytest.mark.parametrize(("options", "role"), [((), "reader"), (("--role", "operator"), "operator")])
def test_a_token_is_printed_alone_and_works(
    migrated_url: str, crm_sync: Command, options: tuple[str, ...], role: str
) -> None:
    made = crm_sync("token", "create", "reports", *options)

    assert made.exit_code == 0
    assert role_of(migrated_url, made.stdout.rstrip("\n")) == role


def test_a_list_shows_everything_but_the_token(migrated_url: str, crm_sync: Command) -> None:
    made = crm_sync("token", "create", "reports").stdout.strip()

    listed = crm_sync("token", "list")
    as_json = crm_sync("token", "list", "--json")

    assert listed.stdout.splitlines()[1].split("\t")[:3] == ["1", "reports", "reader"]
    assert json.loads(as_json.stdout)[0]["revoked_at"] is None
    assert made not in listed.output + as_json.output


def test_a_revoked_token_works_no_more(migrated_url: str, crm_sync: Command) -> None:
    made = crm_sync("token", "create", "reports").stdout.strip()

    assert crm_sync("token", "revoke", "1").exit_code == 0
    assert role_of(migrated_url, made) is None

    again = crm_sync("token", "revoke", "1")
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)


def test_a_name_or_role_that_cannot_be_is_a_usage_error(migrated_url: str, crm_sync: Command) -> None:
    for arguments in (["create", " "], ["create", "a\nb"], ["create", "x" * 201], ["create", "x", "--role", "admin"],
                      ["revoke", "x"], ["revoke", "0"], ["revoke", str(2**63)]):  # fmt: skip
        assert crm_sync("token", *arguments).exit_code == 2, arguments

    assert crm_sync("token", "list", "--json").stdout == "[]\n"
