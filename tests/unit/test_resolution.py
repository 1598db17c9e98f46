"""The ranks of the signals: which one decides, and whether it is final."""

from typing import Any

import pytest

from crm_sync.resolution import PENDING, Resolution, ResolutionMap, Signals, Status, decide

KNOWN = ResolutionMap(
    wrapup_codes={"code-won": Status.RESOLVED, "code-lost": Status.UNRESOLVED},
    words={"resolved": Status.RESOLVED, "given up": Status.ABANDONED},
)


def resolved_by(**signals: Any) -> Resolution:
    return decide(Signals(**signals), KNOWN)


@pytest.mark.parametrize(
    ("signals", "status", "source", "reason", "is_final"),
    [
        ({"wrapup_code": "code-won"}, "resolved", "wrapup_code", "code-won", True),
        ({"wrapup_code": "code-lost"}, "unresolved", "wrapup_code", "code-lost", True),
        ({"payload_word": "resolved"}, "resolved", "payload", "resolved", True),
        ({"payload_word": " Given UP "}, "abandoned", "payload", " Given UP ", True),
        ({"payload_word": "half done"}, "unknown", "payload", "half done", False),
        ({"attribute_word": "RESOLVED"}, "resolved", "attribute", "RESOLVED", True),
        ({"attribute_word": "half done"}, "unknown", "attribute", "half done", False),
        ({"flow_outcome": "SUCCESS"}, "resolved", "flow_outcome", "SUCCESS", False),
        ({"flow_outcome": "FAILURE"}, "unresolved", "flow_outcome", "FAILURE", False),
        ({"flow_exit": "FLOW_ERROR_EXIT"}, "unresolved", "flow_exit", "FLOW_ERROR_EXIT", False),
        ({"flow_exit": "FLOW_ERROR_DISCONNECT"}, "unresolved", "flow_exit", "FLOW_ERROR_DISCONNECT", False),
        ({"flow_exit": "RECOGNITION_FAILURE_EXIT"}, "unresolved", "flow_exit", "RECOGNITION_FAILURE_EXIT", False),
        ({"self_served": True}, "resolved", "self_served", "selfServed", False),
        ({"queue_reached": True, "closed": True}, "abandoned", "queue", None, False),
        (
            {"queue_reached": True, "closed": True, "acd_outcome": "ABANDON"},
            "abandoned",
            "queue",
            "ABANDON",
            False,
        ),
        ({"flow_exit": "TRANSFER", "flow_transfer": "ACD"}, "escalated", "flow_transfer", "ACD", False),
        ({"flow_exit": "TRANSFER", "flow_transfer": "USER"}, "escalated", "flow_transfer", "USER", False),
        ({"flow_exit": "TRANSFER", "flow_transfer": "GROUP"}, "escalated", "flow_transfer", "GROUP", False),
        ({"flow_exit": "TRANSFER", "flow_transfer": "NUMBER"}, "transferred", "flow_transfer", "NUMBER", False),
        ({"flow_exit": "SESSION_EXPIRE_DISCONNECT"}, "abandoned", "flow_exit", "SESSION_EXPIRE_DISCONNECT", False),
        ({"disconnect": "timeout"}, "abandoned", "disconnect", "timeout", False),
        ({"disconnect": "session_expired"}, "abandoned", "disconnect", "session_expired", False),
        ({"disconnect": "error"}, "unresolved", "disconnect", "error", False),
        ({"disconnect": "transport_failure"}, "unresolved", "disconnect", "transport_failure", False),
        ({"disconnect": "spam"}, "unknown", "disconnect", "spam", False),
        ({"disconnect": "client"}, "unknown", "disconnect", "client", False),
        ({"wrapup_code": "code-won", "wrapup_is_provisional": True}, "resolved", "wrapup_code", "code-won", False),
    ],
)
def test_each_signal_alone_decides_as_its_rank_says(
    signals: dict[str, Any], status: str, source: str, reason: str, is_final: bool
) -> None:
    expected = Resolution(status=Status(status), source=source, reason=reason, is_final=is_final)

    assert resolved_by(**signals) == expected


def test_without_any_signal_the_resolution_is_unknown_and_pending() -> None:
    assert resolved_by() == PENDING == Resolution(status=Status.UNKNOWN)


RANKED = [
    ({"wrapup_code": "code-lost"}, "wrapup_code"),
    ({"payload_word": "resolved"}, "payload"),
    ({"attribute_word": "resolved"}, "attribute"),
    ({"flow_outcome": "FAILURE"}, "flow_outcome"),
    ({"flow_exit": "FLOW_ERROR_EXIT"}, "flow_exit"),
    ({"self_served": True}, "self_served"),
    ({"queue_reached": True, "closed": True}, "queue"),
    ({"flow_exit": "TRANSFER", "flow_transfer": "ACD"}, "flow_transfer"),
    ({"disconnect": "timeout"}, "disconnect"),
]


@pytest.mark.parametrize("place", range(len(RANKED)))
def test_the_first_rank_that_speaks_silences_all_below_it(place: int) -> None:
    signals: dict[str, Any] = {}
    for below, _ in reversed(RANKED[place:]):
        signals |= below

    assert resolved_by(**signals).source == RANKED[place][1]


@pytest.mark.parametrize(
    "signals",
    [
        {"self_served": True, "agent_took_part": True},
        {"queue_reached": True, "closed": False},
        {"queue_reached": True, "closed": True, "agent_took_part": True},
        {"flow_exit": "TRANSFER", "flow_transfer": "NUMBER", "agent_took_part": True},
        {"flow_exit": "TRANSFER", "flow_transfer": "FLOW"},
        {"flow_exit": "TRANSFER"},
    ],
)
def test_a_guess_that_something_else_refutes_is_not_made(signals: dict[str, Any]) -> None:
    assert resolved_by(**signals) == PENDING


def test_a_wrapup_code_that_nobody_has_mapped_leaves_the_word_to_the_next_rank() -> None:
    assert resolved_by(wrapup_code="code-new", payload_word="resolved").source == "payload"
    assert resolved_by(wrapup_code="code-new") == PENDING


def test_a_word_that_nobody_has_explained_is_not_overruled_by_a_guess() -> None:
    found = resolved_by(payload_word="half done", flow_outcome="SUCCESS")

    assert (found.status, found.reason, found.is_final) == (Status.UNKNOWN, "half done", False)


def test_an_agent_who_took_part_takes_the_success_of_the_bot_back() -> None:
    assert resolved_by(flow_outcome="SUCCESS", agent_took_part=True, disconnect="client").source == "disconnect"
    assert resolved_by(flow_outcome="SUCCESS", agent_took_part=True) == PENDING


def test_an_agent_who_took_part_does_not_undo_the_failure_of_the_bot() -> None:
    assert resolved_by(flow_outcome="FAILURE", agent_took_part=True).status is Status.UNRESOLVED


@pytest.mark.parametrize("outcome", ["UNKNOWN", "success", "NEW_WORD"])
def test_an_unknown_outcome_of_a_bot_says_nothing(outcome: str) -> None:
    assert resolved_by(flow_outcome=outcome) == PENDING


@pytest.mark.parametrize("exit_reason", ["TRANSFER", "USER_EXIT", "FLOW_EXIT", "DISCONNECT", "NEW_WORD"])
def test_an_ordinary_exit_of_a_bot_says_nothing(exit_reason: str) -> None:
    assert resolved_by(flow_exit=exit_reason) == PENDING


def test_only_the_words_of_the_map_are_known_and_resolved_is_one_by_default() -> None:
    assert decide(Signals(payload_word="resolved"), ResolutionMap()).is_final
    assert not decide(Signals(payload_word="given up"), ResolutionMap()).is_final


@pytest.mark.parametrize("source", ["payload_word", "attribute_word"])
def test_a_reason_fits_its_column_however_long_the_word_was(source: Any) -> None:
    word = "x" * 40_000
    mapped = ResolutionMap(words={word: Status.ABANDONED})

    assert resolved_by(**{source: word}).reason == "x" * 200
    found = decide(Signals(**{source: word}), mapped)
    assert (found.status, found.reason) == (Status.ABANDONED, "x" * 200)
