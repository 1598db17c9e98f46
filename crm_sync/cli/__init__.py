"""The command line `crm-sync`: one file per group of commands, imported when the group is asked for."""

import re
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Any

import click

from crm_sync.errors import CrmSyncError, Unavailable

_MODULES: Mapping[str, str] = {
    "demo": "demo",
    "run": "processes",
    "web": "processes",
    "worker": "processes",
    "db": "db",
    "webhook": "webhook",
    "session": "session",
    "reconcile": "reconcile",
    "backfill": "reconcile",
    "drift": "reconcile",
    "resolution": "resolution",
    "report": "report",
    "audit": "audit",
    "replay": "replay",
    "redeliver": "redeliver",
    "target": "target",
    "token": "token",
    "sandbox": "sandbox",
}
"""Command -> the module of this package in which it stands under its own name, in the order of the help."""


class Refusal(click.ClickException):
    """One of our errors, told as its sentences: no traceback, exit code 1."""

    def show(self, file: Any = None) -> None:
        """Write one line for each fault, to stderr."""
        for line in self.message.splitlines():
            click.echo(f"Error: {line}", file=file, err=True)


class _Main(click.Group):
    """Imports a command's module when the command is used, so that the worker loads no web framework."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Bytes that are not UTF-8 come as half surrogates, which no database takes and no terminal shows.
        if any(not argument.isascii() and re.search("[\ud800-\udfff]", argument) for argument in args):
            ctx.fail("An argument is not UTF-8: write it in that encoding.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CrmSyncError as error:
            detail = error.detail if isinstance(error, Unavailable) else None
            raise Refusal(f"{error} It says: {detail}" if detail else str(error)) from error


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    try:
        click.echo(f"crm-sync {metadata.version('crm-sync')}")
    except metadata.PackageNotFoundError:
        click.echo("crm-sync, a checkout that is not installed")
    ctx.exit()


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Carry the closure and the resolution of every Genesys Cloud conversation to your CRMs.

    Settings come from the environment and from crm-sync.toml in the working folder, or where CRM_SYNC_CONFIG says.
    """
