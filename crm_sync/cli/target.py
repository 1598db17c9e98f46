"""`crm-sync target`: the CRMs that closures are owed to, what they are owed, and whether they would take it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol, runtime_checkable

import click

from crm_sync.adapters import registry
from crm_sync.adapters.contract import Finding
from crm_sync.cli.common import age, database, echo_json, echo_table, json_option, settings
from crm_sync.errors import AdapterFailure, SettingsError
from crm_sync.settings import Settings, TargetSettings
from crm_sync.store import targets


@click.group()
def target() -> None:
    """List, check, pause and resume targets."""


@target.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the targets that the database knows, with what each is owed. A target is known once the service has run."""
    with database() as opened, opened.read() as connection:
        found = targets.rows(connection)
    if as_json:
        echo_json([asdict(row) for row in found])
        return
    echo_table(
        ["NAME", "ADAPTER", "STATE", "OWED", "DEAD", "DELIVERED", "WAITING FOR", "PAUSED BECAUSE"],
        [
            (t.name, t.adapter, t.state, t.owed, t.dead, t.delivered, age(t.oldest_due_at), t.paused_reason)
            for t in found
        ],
        empty="There are no targets yet: write [targets.NAME] in the settings and start the service.",
    )


@target.command()
@click.argument("name")
@click.option("--reason", default="paused by hand", show_default=True, help="Why; it is shown wherever the state is.")
def pause(name: str, reason: str) -> None:
    """Stop pushes to the target NAME. What it is owed is kept, and grows."""
    with database() as opened, opened.write() as connection:
        targets.pause(connection, name, reason)
    click.echo(f"Target {name} is paused: go on with crm-sync target resume {name}.")


@target.command()
@click.argument("name")
def resume(name: str) -> None:
    """Push to the target NAME again."""
    with database() as opened, opened.write() as connection:
        targets.resume(connection, name)
    click.echo(f"Target {name} is live.")


@target.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--create", is_flag=True, help="First create the table that a target of the adapter sql writes to.")
@json_option
@click.pass_context
def check(ctx: click.Context, names: Sequence[str], create: bool, as_json: bool) -> None:
    """Ask the CRMs of these targets (default: of all in the settings) whether pushes would work.

    Writes nothing, unless --create is given.
    """
    loaded = settings()
    found = {name: _findings(name, chosen, loaded, create=create) for name, chosen in _chosen(loaded, names).items()}
    if as_json:
        echo_json({name: [asdict(finding) for finding in findings] for name, findings in found.items()})
    else:
        for name, findings in found.items():
            for finding in findings:
                word = "Fault" if finding.is_fatal else "Warning"
                what = finding.what.rstrip(".")
                click.echo(f"{name}: {word}: {finding.where}: {what}; {finding.remedy}.")
            if not findings:
                click.echo(f"{name}: all is well.")
        if not found:
            click.echo("The settings name no targets.")
    if any(finding.is_fatal for findings in found.values() for finding in findings):
        ctx.exit(1)


def _chosen(loaded: Settings, names: Sequence[str]) -> dict[str, TargetSettings]:
    unknown = sorted(set(names) - set(loaded.targets))
    if unknown:
        known = ", ".join(sorted(loaded.targets)) or "none"
        raise click.BadParameter(f"no target {unknown[0]} in the settings; there are: {known}.", param_hint="NAME")
    return {name: chosen for name, chosen in sorted(loaded.targets.items()) if name in names or not names}


def _findings(name: str, chosen: TargetSettings, loaded: Settings, *, create: bool) -> list[Finding]:
    """Return what the adapter notices; that its CRM cannot be asked at all is a finding too."""
    try:
        adapter = registry.build(name, chosen, worker_deadline_seconds=loaded.worker.push_deadline_seconds)
    except SettingsError as error:
        where, remedy = chosen.adapter, "correct it in crm-sync.toml"
        return [Finding(what=fault, where=where, remedy=remedy, is_fatal=True) for fault in error.faults]
    try:
        if create and isinstance(adapter, _Creating):
            adapter.create_table()
        return adapter.check()
    except AdapterFailure as failed:
        remedy = "see whether the CRM is up, and whether it takes our credentials"
        return [Finding(what=str(failed), where=chosen.adapter, remedy=remedy, is_fatal=True)]
    finally:
        adapter.close()


@runtime_checkable
class _Creating(Protocol):
    """An adapter that can create what it writes to."""

    def create_table(self) -> None:
        """Create the table that is missing; one that exists stays as it is."""
