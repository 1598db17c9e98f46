"""What the commands share: settings, the database, and how tables and JSON are printed."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
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
    lines = [[_cell(value) for value in row] for row in rows]
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


def age(since: datetime | None) -> str | None:
    """Return in words how long ago an instant was, None for one that is still to come."""
    if since is None or (seconds := (clock.now() - since) // timedelta(seconds=1)) < 0:
        return None
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {name}"
    return f"{seconds} s"


def _cell(value: object) -> str:
    """Return a value as one harmless line: some of it is in the words of other systems."""
    if value is None:
        return "-"
    text = clock.to_text(value) if isinstance(value, datetime) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return clock.to_text(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
