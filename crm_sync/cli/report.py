"""`crm-sync report`: how the conversations of a window were resolved, and how long each step took."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from crm_sync import clock
from crm_sync.cli import Refusal
from crm_sync.cli.common import database, echo_json, echo_table, json_option, window_options
from crm_sync.cli.genesys import services
from crm_sync.resolution import Status

if TYPE_CHECKING:
    from crm_sync.compare import Comparison
    from crm_sync.store.engine import Database
    from crm_sync.store.reports import By, Figures, Report


@click.command()
@window_options("that ended")
@click.option(
    "--by",
    type=click.Choice(["media", "queue", "flow", "day"]),
    help="Also by media, queue, flow, or day of the end in UTC. In several queues or flows one counts in each.",
)
@click.option("--check", is_flag=True, help="Compare the count with analytics, and name what is missing.")
@json_option
def report(since: datetime | None, until: datetime | None, by: "By | None", check: bool, as_json: bool) -> None:
    """Tell how the conversations of a window (the last seven days) were resolved, and how long each step took.

    \b
    SUCCESS       resolved, of those with a known resolution
    SELF-SERVICE  resolved without an agent, of those with a known resolution
    delivery      from the event's time to our receipt of it
    sync          from the event's time to the first acknowledgement by each target
    termination   from the customer's leaving to the platform's end, where analytics told it
    handle        talk, held and after-call work of all agents
    """
    # Imported here, or every --help would load it.
    from crm_sync.store import reports

    until = until or clock.now()
    since = since or reports.usual_since(until)
    if since >= until:
        raise click.UsageError("--since lies in the future: nothing has ended there yet.")
    compared = None
    if check:
        from crm_sync import compare
        from crm_sync.genesys.analytics import Window

        with services() as opened:
            made = _made(opened.database, since, until, by)
            window = Window(since=since, until=until)
            compared = compare.with_analytics(opened.settings.reconcile, opened.database, opened.genesys, window)
    else:
        with database() as only:
            made = _made(only, since, until, by)
    if as_json:
        echo_json(made.as_record() | ({} if compared is None else {"check": compared.as_record()}))
    else:
        _echo(made)
    if compared is not None:
        _tell(compared, as_json=as_json)


def _made(opened: "Database", since: datetime, until: datetime, by: "By | None") -> "Report":
    from crm_sync.store import reports
    from crm_sync.store.repairs import be_patient

    with opened.read() as connection:
        be_patient(connection)
        return reports.resolution(connection, since=since, until=until, by=by)


def _echo(made: "Report") -> None:
    parts: dict[str | None, Figures] = {"all": made.total}
    named = {f"{made.by} {key or '(none)'}": figures for key, figures in made.groups.items()}
    click.echo(f"Closed from {clock.to_text(made.since)} to {clock.to_text(made.until)}")
    echo_table(
        ["OF", "CLOSED", *(str(status).upper() for status in Status), "SUCCESS", "SELF-SERVICE"],
        [(of, *_counts(figures)) for of, figures in (parts | named).items()],
        empty="",
    )
    click.echo("\nMilliseconds")
    echo_table(
        ["OF", "WHAT", "CONVERSATIONS", "P50", "P95", "P99"],
        [(of, *row) for of, figures in (parts | named).items() for row in _spreads(figures)],
        empty="",
    )


def _counts(figures: "Figures") -> tuple[object, ...]:
    rates = (
        figures.of_known(figures.resolutions.get(Status.RESOLVED, 0)),
        figures.of_known(figures.resolved_without_agent),
    )
    percents = (None if rate is None else f"{100 * rate:.1f} %" for rate in rates)
    return (figures.closed, *(figures.resolutions.get(status, 0) for status in Status), *percents)


def _spreads(figures: "Figures") -> Iterator[tuple[object, ...]]:
    synced = {f"sync {target}": spread for target, spread in figures.sync.items()}
    named = {"delivery": figures.delivery, **synced, "termination": figures.termination, "handle": figures.handle}
    for what, spread in named.items():
        yield (what, spread.count, spread.p50, spread.p95, spread.p99)


def _tell(compared: "Comparison", *, as_json: bool) -> None:
    """Say what the comparison found; ends the command with exit code 1 when something is missing."""
    since, until = clock.to_text(compared.since), clock.to_text(compared.until)
    if not as_json:
        click.echo(
            f"\nFrom {since} to {until} analytics has {compared.in_analytics} conversations that ended, of which "
            f"{compared.missing} are missing here; {compared.known} closures are known of that time."
        )
        for conversation_id in compared.missing_ids:
            click.echo(conversation_id)
    if compared.missing:
        raise Refusal(
            f"{compared.missing} conversations are missing: run crm-sync reconcile --since {since} --until {until}."
        )
