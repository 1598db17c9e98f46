"""`crm-sync token`: the bearer tokens with which the API is read."""

from dataclasses import asdict

import click

from crm_sync.cli.common import database, echo_json, echo_table, json_option
from crm_sync.store import tokens


@click.group()
def token() -> None:
    """Make, list and revoke the bearer tokens of the API."""


@token.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["reader", "operator"]),
    default="reader",
    show_default=True,
    help="A reader reads; an operator may also start sessions.",
)
def create(name: str, role: str) -> None:
    """Make a token called NAME and print it. It is shown this once: only its digest is kept."""
    name = name.strip()
    if not (1 <= len(name) <= 200 and name.isprintable()):
        raise click.BadParameter("must be 1 to 200 printable characters.", param_hint="NAME")
    with database() as opened, opened.write() as connection:
        made = tokens.create(connection, name=name, role=role)
    click.echo("Keep this token safe; it cannot be shown again:", err=True)
    click.echo(made)


@token.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all tokens: when they were made, for which role, and whether they are revoked."""
    with database() as opened, opened.read() as connection:
        found = tokens.rows(connection)
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    echo_table(
        ["ID", "NAME", "ROLE", "CREATED", "REVOKED"],
        [(row.id, row.name, row.role, row.created_at, row.revoked_at) for row in found],
        empty="There are no tokens yet: make one with crm-sync token create NAME.",
    )


@token.command()
@click.argument("token_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
def revoke(token_id: int) -> None:
    """Revoke the token with this ID (see token list), from the next request on."""
    with database() as opened, opened.write() as connection:
        tokens.revoke(connection, token_id)
    click.echo(f"Token {token_id} is revoked.")
