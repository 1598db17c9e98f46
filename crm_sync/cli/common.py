"""What the commands share: settings, the database, how tables and JSON are printed, and work that takes long."""

import json
import logging
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crm_sync import clock, logs
from crm_sync.settings import Settings
from crm_sync.store import migrate
from crm_sync.store.engine import Database

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")

_GIVEN = "crm_sync.given"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def settings(*, least: int = logging.WARNING) -> Settings:
    """Return the settings of the environment and the working folder; from now on logs hide every secret in them.

    A command answers a person, who wants no log around the answer; processes pass the level INFO.
    """
    loaded = Settings.load(os.environ, cwd=Path.cwd())
    logs.configure(loaded.log_format, least=least)
    logs.hide(loaded.secret_values())
    return loaded


@contextmanager
def database(*, must_be_current: bool = True) -> Iterator[Database]:
    """Open the database of the settings; raises SchemaError when a migration is missing, unless that may be so."""
    opened = Database(settings().database_url)
    try:
        if must_be_current:
            for warning in migrate.require_current(opened):
                click.echo(f"Warning: {warning}", err=True)
        yield opened
    finally:
        opened.close()


def echo_json(value: Any) -> None:
    """Print a value as JSON; instants as RFC 3339."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_as_json))


def echo_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows as a table, or as lines with tabs where no terminal is; without rows the sentence `empty`."""
    lines = [[one_line(value) for value in row] for row in rows]
    if not lines:
        click.echo(empty)
    elif sys.stdout.isatty():
        table = Table(*headings, box=None, pad_edge=False, header_style="bold")
        for line in lines:
            table.add_row(*(Text(cell) for cell in line))
        Console().print(table)
    else:
        for line in [list(headings), *lines]:
            click.echo("\t".join(line))


def one_line(value: object) -> str:
    """Return a value as one harmless line: some of it is in the words of other systems."""
    if value is None:
        return "-"
    text = clock.to_text(value) if isinstance(value, datetime) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def age(since: datetime | None) -> str | None:
    """Return in words how long ago an instant was, None for one that is still to come."""
    if since is None or (seconds := (clock.now() - since) // timedelta(seconds=1)) < 0:
        return None
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {name}"
    return f"{seconds} s"


class Instant(click.ParamType[datetime]):
    """An instant with its zone, or a plain date, which means its first moment in UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the instant in UTC; a usage error tells how one is written."""
        try:
            instant = datetime.fromisoformat(value)
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                instant = instant.replace(tzinfo=clock.UTC)
            if instant.tzinfo is not None:
                return instant.astimezone(clock.UTC)
        except (ValueError, OverflowError):
            pass  # Told below, together with an instant without a zone.
        self.fail(
            f"{value!r} is no instant: write it as 2024-01-15T10:34:12Z, or 2024-01-15 for its first moment in UTC."
        )


def window_options(which: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the options --since and --until for a command that deals with things of an instant: "that ended", say."""

    def added(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def checked(*args: Any, since: datetime | None, until: datetime | None, **options: Any) -> None:
            if since is not None and until is not None and since >= until:
                raise click.UsageError("--since is not before --until, so nothing lies between: turn them round.")
            command(*args, since=since, until=until, **options)

        until = click.option("--until", type=Instant(), metavar="DATE", help=f"Only those {which} before DATE.")
        since = click.option("--since", type=Instant(), metavar="DATE", help=f"Only those {which} at DATE or later: "
                             "2024-01-15 in UTC, or 2024-01-15T10:34:12Z.")  # fmt: skip
        return since(until(checked))

    return added


def confirm(question: str, *, yes: bool) -> None:
    """Go on if a person on a terminal says so, or if --yes was given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise _NoTerminal("There is no terminal to ask on: add --yes to do it without being asked.")
    click.confirm(question, abort=True, err=True)


@contextmanager
def long_work(label: str, total: int) -> Iterator[tuple[Callable[[int], None], threading.Event]]:
    """Show a bar on a terminal; yield what is told how much is done, and what tells that it is to end after its page.

    The first Ctrl-C or SIGTERM asks for that, the second ends the command at once.
    """
    bar = click.progressbar(length=total, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())
    with _stopped_by_signals() as stop, bar:
        yield lambda done: bar.update(done - bar.pos), stop


class Resumable(click.Command):
    """A command that remembers how it was called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words, then read them."""
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)


def to_go_on(ctx: click.Context, option: str, value: str) -> str:
    """Return the command line that goes on with a resumable command: as it was called, with this option."""
    given = list(ctx.meta[_GIVEN])
    while option in given:
        place = given.index(option)
        del given[place : place + 2]
    given = [word for word in given if not word.startswith(f"{option}=")]
    return shlex.join([*ctx.command_path.split(), option, value, *given])


class _NoTerminal(click.ClickException):
    exit_code = 2


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in _ENDING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(_signal: int, _frame: object) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return clock.to_text(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
