"""One pipeline for every log line, ours and the libraries': UTC, one event a line, secrets hidden in one step."""

import json
import logging
import math
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from crm_sync import clock

HIDDEN = "***"

_SENSITIVE = re.compile(
    r"secret|token|password|authorization|signature|body|cookie|credential|api_?key|private_?key", re.IGNORECASE
)
_QUOTING = frozenset(("sqlalchemy", "psycopg", "sqlite3", "pysqlite3", "pymysql"))
_SHORTEST_HIDDEN = 6
_DEEPEST = 8

# The one global of this module: a secret must be hidden whoever logs it, also a library that never heard of it.
_hidden_values: tuple[str, ...] = ()


def configure(log_format: Literal["text", "json"], stream: TextIO | None = None, *, least: int = logging.INFO) -> None:
    """Send every logger of the process, structlog's and the standard library's, to `stream` (default: stderr).

    Lines below the level `least` are left out.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
    ]
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                ProcessorFormatter.remove_processors_meta,
                _name_exception,
                _redact,
                _as_json if log_format == "json" else _as_text,
            ],
        )
    )
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    _reclaim_loggers()


def hide(values: Iterable[str]) -> None:
    """Have these values, also quoted or percent-encoded, replaced by *** in every line from now on.

    Values of fewer than 6 characters are left alone: they would blank out ordinary words and protect nothing.
    """
    global _hidden_values
    long_enough = {value for value in values if len(value) >= _SHORTEST_HIDDEN}
    forms = {form for value in long_enough for form in (value, repr(value)[1:-1], quote(value, safe=""))}
    # The longest first, or hiding one secret would leave the rest of another that contains it.
    _hidden_values = tuple(sorted(forms.union(_hidden_values), key=len, reverse=True))


def is_sensitive(key: str) -> bool:
    """Whether what stands under this name is a secret or somebody's words."""
    return _SENSITIVE.search(key.replace("-", "_")) is not None


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Tell that a line was lost. The stock handler prints the record as it is, with every secret in it."""
        with suppress(OSError, ValueError):
            self.stream.write(json.dumps({"event": "log_line_lost", "logger": record.name}) + self.terminator)


def _reclaim_loggers() -> None:
    """Let loggers that a server or library gave handlers of its own (gunicorn does) write through ours."""
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and any(
            not isinstance(handler, logging.NullHandler) for handler in logger.handlers
        ):
            logger.handlers.clear()
            logger.propagate = True


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = clock.to_text(clock.now())
    return event


def _name_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Render an exception with its traceback, but never with local variables: they hold bodies and secrets."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        event["exception"] = _without_rows(info[1], "".join(traceback.format_exception(*info)).rstrip("\n"))
    return event


def _without_rows(error: BaseException | None, text: str) -> str:
    """Leave out what a database driver says: it quotes the row that it did not like, with everything in it."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in _QUOTING:
            text = text.replace(str(error), "(left out: it may quote a row)")
        error = error.__cause__ or error.__context__
    return text


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {_without_secrets(key): HIDDEN if is_sensitive(key) else _plain(value) for key, value in event.items()}


def _plain(value: object, depth: int = 0) -> Any:
    """Return the value as JSON has it, with every secret in it replaced."""
    if depth > _DEEPEST:
        return "..."
    match value:
        case None | bool() | int():
            return value
        case float() if math.isfinite(value):
            return value
        case Mapping():
            return {
                _without_secrets(str(key)): HIDDEN if is_sensitive(str(key)) else _plain(item, depth + 1)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_plain(item, depth + 1) for item in value]
    return _without_secrets(str(value))


def _without_secrets(text: str) -> str:
    for value in _hidden_values:
        text = text.replace(value, HIDDEN)
    return text


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=True).replace("\x7f", "\\u007f")


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    head = f"{event.pop('timestamp')} {event.pop('level'):<8} {event.pop('event')}"
    line = " ".join([head, *(f"{key}={_as_word(value)}" for key, value in event.items())])
    return "".join(_escaped(character) for character in line)


def _as_word(value: object) -> str:
    if isinstance(value, str) and value and not re.search(r"[\s\"=]", value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _escaped(character: str) -> str:
    """Return a control, formatting or line-breaking character by its name, so that no value can forge a line."""
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character
