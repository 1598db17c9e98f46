"""`crm-sync target`: the CRMs that closures are owed to, what they are owed, and whether they would take it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Protocol, runtime_checkable

import click

from crm_sync import backfill as stage
from crm_sync import clock, settings_sources
from crm_sync.adapters import registry
from crm_sync.adapters.contract import Finding
from crm_sync.cli import Refusal
from crm_sync.cli.common import (
    age,
    confirm,
    database,
    dry_run_option,
    echo_json,
    echo_table,
    json_option,
    long_work,
    settings,
    window_options,
    yes_option,
)
from crm_sync.errors import AdapterFailure, SettingsError
from crm_sync.settings import Settings
from crm_sync.settings_targets import TargetSettings
from crm_sync.store import repairs, targets
from crm_sync.store.engine import Database
from crm_sync.store.repairs import Window
from crm_sync.store.targets import Target

PAGE = 500


@click.group()
def target() -> None:
    """List, check, pause, resume, backfill, rename and remove targets."""


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
        ["NAME", "ADAPTER", "STATE", "OWED", "DEAD", "DELIVERED", "WAITING FOR", "RESTS UNTIL", "PAUSED BECAUSE"],
        [
            (
                t.name,
                t.adapter,
                t.state,
                t.owed,
                t.dead,
                t.delivered,
                age(t.owed_since),
                _rests_until(t),
                t.paused_reason,
            )
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
@click.argument("name")
@window_options("that ended")
@dry_run_option
@yes_option
@json_option
def backfill(
    name: str, since: datetime | None, until: datetime | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Owe the past to the target NAME: what ended before it was there, or while it was retired.

    It is owed what its settings choose and it is not owed yet, and is pushed to while nothing newer is due. A backfill
    that was cut short is simply begun again.
    """
    ended = Window(since=since, until=until)
    with database() as opened:
        past = stage.count(opened, name, ended)
        if not as_json:
            click.echo(
                f"Target {name} is to be owed {past.to_owe} closures. It is owed or has been told {past.owed_already}, "
                f"and does not choose {past.not_chosen}."
            )
        done = 0
        if past.to_owe and not dry_run:
            confirm(f"Owe {past.to_owe} closures to target {name}?", yes=yes)
            with long_work("Owing", past.to_owe) as (progress, stop):
                owed = stage.run(opened, name, ended, progress=progress, stop=stop)
            done = owed.count
            if not owed.is_complete:
                raise Refusal(f"Stopped after {done} of {past.to_owe} closures. The same command goes on.")
    if as_json:
        echo_json(asdict(past) | {"owed": done})
    elif past.to_owe and not dry_run:
        click.echo(f"Target {name} is owed {done} closures more.")


@target.command()
@click.argument("old")
@click.argument("new")
def rename(old: str, new: str) -> None:
    """Call the target OLD by the name NEW. What it is owed and has been told stays with it."""
    if not settings_sources.is_target_name(new):
        raise click.BadParameter(f"{new!r} is no name for a target; {settings_sources.NAME_RULE}.", param_hint="NEW")
    with database() as opened, opened.write() as connection:
        repairs.rename(connection, old, new)
    click.echo(
        f"Target {old} is called {new}. Write [targets.{new}] instead of [targets.{old}] in every settings file before "
        f"its process starts next, or that process makes a new target {old}."
    )


@target.command()
@click.argument("name")
@dry_run_option
@yes_option
def remove(name: str, dry_run: bool, yes: bool) -> None:
    """Remove the retired target NAME with everything that it is owed and has been told.

    Its CRM keeps its records. A removal that was cut short is simply begun again.
    """
    with database() as opened:
        with opened.write() as connection:
            targets.retire_unnamed(connection)  # A worker does so, too, but none runs once no target is left.
        with opened.read() as connection:
            repairs.be_patient(connection)
            repairs.removable(repairs.target(connection, name))
            known = next(each for each in targets.rows(connection) if each.name == name)
        total = known.owed + known.dead + known.delivered
        click.echo(
            f"Target {name} is owed {known.owed} closures, {known.dead} are dead, {known.delivered} are delivered. "
            "With the target all of this is forgotten."
        )
        if dry_run:
            return
        confirm(f"Remove target {name} and {total} deliveries?", yes=yes)
        done = _remove(opened, name, total)
    click.echo(f"Target {name} is removed, and {done} deliveries with it.")


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


def _rests_until(row: Target) -> datetime | None:
    """Return until when a target is left alone, because its CRM asked for it or its breaker is open."""
    rests = [until for until in (row.not_before, row.open_until) if until and until > clock.now()]
    return max(rests, default=None)


def _remove(opened: Database, name: str, total: int) -> int:
    """End the target's debts page by page, and then the target; return how many debts that were."""
    done = 0
    with long_work("Removing", total) as (progress, stop):
        while not stop.is_set():
            with opened.write() as connection:
                ended = repairs.end_debts(connection, name, limit=PAGE)
            done += ended
            progress(done)
            if ended:
                continue
            with opened.write() as connection:
                # Not so when an intake has just owed it a newer version of something: once more, then.
                if repairs.remove(connection, name):
                    return done
    raise Refusal(f"Stopped after {done} of {total} deliveries. The same command goes on.")


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
