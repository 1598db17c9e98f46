"""What a log line promises: one line per event, UTC, and no secret whoever logs it and however."""

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from crm_sync import logs

CANARY = "canary-7Q/x+\"quoted\"'both'"
FORMATS: tuple[Literal["text", "json"], ...] = ("text", "json")


@pytest.fixture(autouse=True)
def _unchanged_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(logs, "_hidden_values", ())
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def only_line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_json_line_has_the_event_its_fields_the_level_and_the_time_in_utc(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    structlog.get_logger("crm_sync.deliver").warning("delivery_settled", delivery_id=7, state="dead", ids=("a", "b"))

    line = only_line(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery_settled",
        "delivery_id": 7,
        "state": "dead",
        "ids": ["a", "b"],
        "level": "warning",
        "logger": "crm_sync.deliver",
    }


def test_a_line_of_a_library_looks_like_one_of_ours(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    logging.getLogger("some.library").error("Connection to %s lost", "db")

    line = only_line(stream)
    assert (line["event"], line["level"], line["logger"]) == ("Connection to db lost", "error", "some.library")


def test_a_text_line_reads_from_left_to_right(stream: io.StringIO) -> None:
    logs.configure("text", stream)
    structlog.get_logger("crm_sync.deliver").info("delivery_settled", delivery_id=7, note="two words")

    timestamp, rest = stream.getvalue().split(" ", 1)
    assert timestamp.endswith("Z")
    assert rest == 'info     delivery_settled delivery_id=7 note="two words" logger=crm_sync.deliver\n'


def test_debug_lines_are_left_out(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    structlog.get_logger("ours").debug("detail")
    logging.getLogger("theirs").debug("detail")

    assert stream.getvalue() == ""


def test_configuring_twice_does_not_double_the_lines(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    logs.configure("json", stream)
    structlog.get_logger("ours").info("once")

    assert only_line(stream)["event"] == "once"


def test_a_logger_with_handlers_of_its_own_is_brought_into_the_pipeline(stream: io.StringIO) -> None:
    elsewhere = io.StringIO()
    logger = logging.getLogger("server.with.own.handler")
    logger.addHandler(logging.StreamHandler(elsewhere))
    logger.propagate = False
    logs.configure("json", stream)
    logger.info("listening")

    assert only_line(stream)["event"] == "listening"
    assert elsewhere.getvalue() == ""


@pytest.mark.parametrize(
    "key", ["client_secret", "claim_token", "DB_PASSWORD", "Authorization", "webhook-signature", "body", "X-Api-Key"]
)
@pytest.mark.parametrize("log_format", FORMATS)
def test_what_stands_under_a_sensitive_name_is_hidden(
    key: str, log_format: Literal["text", "json"], stream: io.StringIO
) -> None:
    logs.configure(log_format, stream)
    structlog.get_logger("ours").info("told", **{key: CANARY}, deep={"list": [{key: CANARY}]})

    assert "canary" not in stream.getvalue()
    assert logs.HIDDEN in stream.getvalue()


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_registered_secret_is_hidden_wherever_it_turns_up(
    log_format: Literal["text", "json"], stream: io.StringIO
) -> None:
    logs.configure(log_format, stream)
    logs.hide([CANARY])
    structlog.contextvars.bind_contextvars(request=CANARY)
    log = structlog.get_logger("ours")
    log.info(f"message {CANARY}", value=f"<{CANARY}>", deep={CANARY: [CANARY]}, thing=ValueError(CANARY), raw={CANARY})
    log.info("url", url="https://host/?q=canary-7Q%2Fx%2B%22quoted%22%27both%27", shown=repr(CANARY))
    logging.getLogger("theirs").warning("said %r", {"x": CANARY})
    try:
        raise RuntimeError(CANARY)
    except RuntimeError:
        log.exception("failed")

    assert "canary" not in stream.getvalue()
    assert "quoted" not in stream.getvalue()


def test_of_two_secrets_that_contain_each_other_nothing_is_left(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    logs.hide(["abcdef"])
    logs.hide(["abcdefghijkl"])
    structlog.get_logger("ours").info("told", value="abcdefghijkl abcdef")

    assert only_line(stream)["value"] == f"{logs.HIDDEN} {logs.HIDDEN}"


def test_short_values_are_not_hidden(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    logs.hide(["", "eu"])
    structlog.get_logger("ours").info("queue_opened")

    assert only_line(stream)["event"] == "queue_opened"


def test_a_traceback_shows_no_local_variable(stream: io.StringIO) -> None:
    def fail(words: str) -> None:
        raise RuntimeError(len(words))

    logs.configure("json", stream)
    try:
        fail(" ".join(["customer", "words"]))
    except RuntimeError:
        structlog.get_logger("ours").exception("failed")

    told = only_line(stream)["exception"]
    assert told.startswith("Traceback") and told.endswith("RuntimeError: 14")
    assert "customer words" not in told


def test_what_a_database_says_of_a_row_is_left_out(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    try:
        try:
            raise sqlite3.IntegrityError("UNIQUE failed: Ann, +13175550100")
        except sqlite3.IntegrityError as error:
            raise RuntimeError("it could not be stored") from error
    except RuntimeError:
        structlog.get_logger("ours").exception("failed")

    told = only_line(stream)["exception"]
    assert "IntegrityError" in told and "it could not be stored" in told
    assert "Ann" not in told


@pytest.mark.parametrize(
    "forged", ["\n", "\r\n", "\x00", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\ud800", "\u200b"]
)
@pytest.mark.parametrize("log_format", FORMATS)
def test_no_value_can_forge_a_second_line(
    forged: str, log_format: Literal["text", "json"], stream: io.StringIO
) -> None:
    logs.configure(log_format, stream)
    structlog.get_logger("ours").info("told", value=f"a{forged}b", **{f"key{forged}": 1})
    logging.getLogger("theirs").info("value %s", forged)

    first, second = stream.getvalue().removesuffix("\n").split("\n")
    assert forged not in first + second
    assert (first + second).isprintable()


@pytest.mark.parametrize("log_format", FORMATS)
def test_an_exception_stays_on_the_line_of_its_event(log_format: Literal["text", "json"], stream: io.StringIO) -> None:
    logs.configure(log_format, stream)
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        logging.getLogger("theirs").exception("failed")

    assert stream.getvalue().count("\n") == 1


def test_values_that_json_does_not_know_are_told_in_words(stream: io.StringIO) -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    logs.configure("json", stream)
    structlog.get_logger("ours").info("told", number=float("nan"), thing=1j, endless=endless)

    line = only_line(stream)
    assert (line["number"], line["thing"]) == ("nan", "1j")


def test_a_line_that_cannot_be_written_says_so_without_its_content(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json", stream)
    logging.getLogger("theirs").info("wrong %d", CANARY)

    assert only_line(stream) == {"event": "log_line_lost", "logger": "theirs"}
    assert capsys.readouterr().err == ""
