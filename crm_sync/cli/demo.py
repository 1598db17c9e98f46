"""`crm-sync demo`: the main job, for real, on this machine: processes, HTTP, a database, two CRMs, and a comparison."""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crm_sync import clock
from crm_sync.cli import demo_report, demo_second, demo_story
from crm_sync.cli.demo_world import CRM, TABLE, World
from crm_sync.errors import SetupError
from crm_sync.sandbox.client import CRMControl
from crm_sync.sandbox.platform_world import WRAPUP_WORDS
from crm_sync.store import migrate, targets
from crm_sync.store.engine import Database

STALLED_SECONDS = 20


@click.command()
@click.option("--conversations", default=200, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--database", "database_url", help="Use this empty database instead of an SQLite file.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--sabotage", type=click.Choice(["drop", "alter"]), help="Let the first CRM lose or change one record.")
def demo(conversations: int, database_url: str | None, as_json: bool, sabotage: str | None) -> None:
    """Show the main job at work, and prove it: exit code 1 when anything is missing from a CRM, or wrong in it.

    Starts a pretend Genesys Cloud, a pretend CRM, and crm-sync's own web and worker processes. Starts virtual-agent
    sessions through the service, ends them, and compares what both CRMs hold with what the pretend Genesys knows. Then
    comes a bad day, on which events are lost, doubled and shuffled, and a reconciliation that makes all of it right.
    """
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="crm-sync-demo-") as folder:
        world = World(folder=Path(folder), database_url=_database(database_url, Path(folder)))
        say = Say(quiet=as_json)
        try:
            outcome = _play(world, conversations, sabotage, say)
            click.echo(json.dumps(outcome, indent=2) if as_json else _as_text(outcome))
            if sys.stdout.isatty() and not as_json:
                _stay(world)
        finally:
            for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(ends, signal.SIG_IGN)  # Nobody's impatience may leave processes behind.
            world.stop()
    if outcome["missing"] or outcome["wrong"] or not outcome["bad_day"]["mended"]:
        sys.exit(1)


class Say:
    """Tells how far the demo is: bars on a terminal, a line for each step elsewhere, on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)

    def step(self, text: str, total: int, work: Callable[[Callable[[int], None]], Any]) -> Any:
        """Do the work, which tells how many of `total` are done, and show it."""
        if not self._console.is_terminal:
            self._console.print(f"{text} …")
            return work(lambda done: None)
        columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(text, total=total)
            return work(lambda done: progress.update(task, completed=done))


def _database(given: str | None, folder: Path) -> str:
    """Return the URL to use. A database that serves other targets is refused: the demo would retire them."""
    if given is None:
        return f"sqlite:///{folder / 'crm-sync.db'}"
    from crm_sync.settings import Settings

    url = Settings.load({"DATABASE_URL": given}, cwd=folder).database_url
    database = Database(url)
    try:
        if migrate.state(database).current is not None:
            with database.read() as connection:
                others = sorted({row.name for row in targets.rows(connection)} - {CRM, TABLE})
            if others:
                raise SetupError(f"This database serves the targets {', '.join(others)}: give the demo an empty one.")
    finally:
        database.close()
    return url


def _play(world: World, count: int, sabotage: str | None, say: Say) -> dict[str, Any]:
    started_at = clock.monotonic()
    most_at_once = max(1, -(-count // len(demo_story.BOTS)))
    say.step("Starting Genesys, CRM, web and worker", 1, lambda done: _open(world, most_at_once, done))
    if sabotage is not None:
        with CRMControl(world.crm_url) as crm:
            crm.add_fault(kind=sabotage, times=1)
    started = say.step(
        "Virtual-agent sessions started", count, lambda done: demo_story.start_sessions(world, count, done)
    )
    ids = started.conversations
    say.step("Conversations ended", count, lambda done: demo_story.end_conversations(world, ids, done))
    expected = demo_report.expectations(world, ids)
    say.step("Closures in both CRMs", 2 * count, lambda done: _wait(world, expected, done))
    second = _play_second_act(world, count, say)
    expected |= demo_second.expectations(second.played)
    outcome = demo_report.summary(world, started, expected, clock.monotonic() - started_at)
    return outcome | {"bad_day": demo_second.told(second)}


def _play_second_act(world: World, count: int, say: Say) -> demo_second.Act:
    """Let a bad day of the platform happen, reconcile, and reconcile again."""
    played = say.step("A bad day: lost, doubled, shuffled", count, lambda done: demo_second.play(world, count, done))
    demo_second.settle(world)
    act = demo_second.Act(played=played, missing_before=demo_second.missing(world, played))
    act.first = say.step("Reconciling", 1, lambda done: demo_second.reconcile(world, done))
    demo_second.settle(world)
    act.drifted, before = demo_second.drifted(world, act.first["id"]), demo_second.versions(world)
    act.second = say.step("Reconciling again", 1, lambda done: demo_second.reconcile(world, done))
    demo_second.settle(world)
    act.changed_again = len(demo_second.versions(world).items() ^ before.items())
    return act


def _open(world: World, most_at_once: int, progress: Callable[[int], None]) -> None:
    world.start(words=demo_story.WORDS, codes=WRAPUP_WORDS, most_at_once=most_at_once)
    progress(1)


def _wait(world: World, expected: dict[str, demo_report.Expected], progress: Callable[[int], None]) -> None:
    """Wait until both CRMs hold everything, or until nothing more can come, or has come for a while."""
    arrived, moved_at = -1, clock.monotonic()
    while clock.monotonic() - moved_at < STALLED_SECONDS:
        if (failed := world.failed()) is not None:
            raise SetupError(failed)
        # Asked before the CRMs are, so that what they hold then is all that they will ever hold.
        is_over = demo_report.is_everything_settled(world)
        held = demo_report.records(world)
        now_there = sum(len(expected.keys() & crm.keys()) for crm in held.values())
        if now_there > arrived:
            arrived, moved_at = now_there, clock.monotonic()
            progress(arrived)
        if is_over or all(demo_report.compare(expected, crm).is_clean for crm in held.values()):
            return
        time.sleep(0.2)


def _as_text(outcome: dict[str, Any]) -> str:
    resolutions = ", ".join(f"{count} {word}" for word, count in outcome["resolutions"].items())
    refused = ", ".join(f"{count} {reason}" for reason, count in outcome["refused_at_start"].items())
    rate = f"{outcome['resolution_rate']:.0%}" if outcome["resolution_rate"] is not None else "-"
    lines = [
        "",
        f"closures           {outcome['closures']}",
        f"resolutions        {resolutions}",
        f"resolution rate    {rate} of those with a known resolution",
        f"escalated          {outcome['escalated_at_start']} at the start, to the human queue",
        f"refused            {refused}",
    ]
    for name, figures in outcome["latency_ms"].items():
        shown = f"{figures['p50']} ms p50, {figures['p99']} ms p99" if figures else "-"
        lines.append(f"{name.replace('_', ' '):<18} {shown}")
    for name, crm in outcome["crms"].items():
        lines.append(f"{name:<18} {crm['missing']} missing, {crm['wrong']} wrong")
        lines.extend(f"                   {example}" for example in crm["examples"])
    bad_day = outcome["bad_day"]
    lines += [
        f"a bad day          {bad_day['conversations']} more conversations, of {bad_day['lost']} no event came; "
        f"{bad_day['missing_before']} were in no CRM",
        f"reconciled         {bad_day['missed']} missed and {bad_day['different']} different; the drift names "
        + ("exactly those" if bad_day["drift_is_exact"] else "OTHERS"),
        f"once more          {bad_day['missed_again']} missed, {bad_day['different_again']} different, "
        f"{bad_day['changed_again']} closures changed",
    ]
    verdict = "Everything is in both CRMs" if not outcome["missing"] + outcome["wrong"] else "NOT everything is right"
    lines.append(f"{verdict}: {outcome['missing']} missing, {outcome['wrong']} wrong, after {outcome['seconds']} s.")
    return "\n".join(lines)


def _stay(world: World) -> None:
    """Stay until Ctrl-C, and tell where to look."""
    click.echo(f"""
Where to look, until you press Ctrl-C:
  closures       curl -H 'Authorization: Bearer {world.token}' {world.web_url}/api/v1/closures
  health         curl {world.web_url}/readyz
  first CRM      curl {world.crm_url}/sandbox/records
  second CRM     sqlite3 {world.table_file} 'SELECT * FROM conversations'
  Genesys Cloud  curl {world.genesys_url}/sandbox/conversations
  settings, logs {world.folder}""")
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("Stopping.")
