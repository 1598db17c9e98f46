"""`crm-sync db`: bring the database to the schema that this version needs, and tell whether it is there."""

import sys

import click

from crm_sync.cli.common import database, echo_json, json_option, settings
from crm_sync.errors import SetupError
from crm_sync.store import migrate
from crm_sync.store.engine import Database, check_durability


@click.group()
def db() -> None:
    """Migrate and check the database."""


@db.command()
@click.argument("revision", default="head")
@click.option("--dry-run", is_flag=True, help="Only tell which migrations would be applied.")
def upgrade(revision: str, dry_run: bool) -> None:
    """Apply the migrations up to REVISION (default: all of them). Harmless when there is nothing to do."""
    with database(must_be_current=False) as opened:
        before = migrate.state(opened)
        if before.is_unknown:
            # An older release that is started again must not fail here: the newer schema is made to bear it.
            click.echo(f"Nothing to do: revision {before.current} comes from a newer version of crm-sync.")
            return
        if dry_run:
            _tell("Would apply", before.missing)
            return
        migrate.upgrade(settings().database_url, revision)
        after = migrate.state(opened)
    _tell("Applied", [known for known in before.missing if known not in after.missing])


@db.command(context_settings={"ignore_unknown_options": True})  # So that -1 is a revision.
@click.argument("revision")
def downgrade(revision: str) -> None:
    """Take migrations back, down to REVISION: an id, -1 for one step, or base for all, with all that is stored."""
    if sys.stdin.isatty():
        click.confirm("This erases what only the newer tables and columns hold. Go on?", abort=True)
    with database(must_be_current=False) as opened:
        migrate.downgrade(settings().database_url, revision)
        click.echo(f"The database is at revision {migrate.state(opened).current or 'base'}.")


@db.command()
@json_option
def current(as_json: bool) -> None:
    """Show the revision of the database and the migrations that are still to be applied."""
    with database(must_be_current=False) as opened:
        found = migrate.state(opened)
    if as_json:
        echo_json({"current": found.current, "head": found.head, "missing": found.missing})
        return
    click.echo(found.current or "base")
    for revision in found.missing:
        click.echo(f"missing: {revision}")


@db.command()
def history() -> None:
    """List the migrations that this version knows, the oldest first."""
    for line in migrate.history():
        click.echo(line)


@db.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check that the database is durable, migrated, and has the tables that this version expects."""
    with database(must_be_current=False) as opened:
        faults, warnings = _examine(opened)
    if as_json:
        echo_json({"faults": faults, "warnings": warnings})
    else:
        for warning in warnings:
            click.echo(f"Warning: {warning}")
        for fault in faults:
            click.echo(f"Fault: {fault}")
        if not faults:
            click.echo("The database is as this version needs it.")
    if faults:
        ctx.exit(1)


@db.command()
def config() -> None:
    """Print the path of an alembic.ini, for alembic -c "$(crm-sync db config)" upgrade head."""
    click.echo(migrate.config_file())


def _examine(opened: Database) -> tuple[list[str], list[str]]:
    """Return what keeps the service from working, and what only weakens it."""
    faults: list[str] = []
    warnings: list[str] = []
    try:
        warnings += check_durability(opened)
    except SetupError as error:
        faults.append(str(error))
    found = migrate.state(opened)
    if found.missing:
        faults += [f"Migration {revision} is not applied: run crm-sync db upgrade." for revision in found.missing]
    elif found.is_unknown:
        # Its tables may well differ from ours; only the newer version can tell whether they are right.
        warnings += migrate.require_current(opened)
    else:
        faults += migrate.differences(opened)
    return faults, warnings


def _tell(done: str, revisions: list[str] | tuple[str, ...]) -> None:
    for revision in revisions:
        click.echo(f"{done} {revision}.")
    if not revisions:
        click.echo("Nothing to do.")
