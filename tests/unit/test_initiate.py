"""Which thresholds send a conversation to people, and how a session is told."""

from datetime import datetime, timedelta

import pytest

from crm_sync.clock import UTC
from crm_sync.follow import describe
from crm_sync.genesys.evaluation import Evaluation, crossed
from crm_sync.settings import SessionSettings
from crm_sync.store.sessions import Ending, Session

LIMITS = SessionSettings(max_turns=10, confidence_min=0.6, sentiment_min=-0.5)
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("confidence", "sentiment", "turns", "words"),
    [
        (0.6, -0.5, 10, []),
        (0.59, 0.0, 1, ["confidence 0.59 is below 0.6"]),
        (0.9, -0.51, 1, ["sentiment -0.51 is below -0.5"]),
        (0.9, 0.0, 11, ["11 turns are more than 10"]),
        (0.1, -1.0, 99, ["99 turns", "confidence", "sentiment"]),
        (0.9, None, 1, []),
        (0.0, None, 1, ["confidence 0 is below"]),
    ],
)
def test_each_threshold_is_enforced_and_unknown_sentiment_crosses_none(
    confidence: float, sentiment: float | None, turns: int, words: list[str]
) -> None:
    evaluated = Evaluation(intent_name="X", intent_confidence=confidence, sentiment_score=sentiment)

    reasons = crossed(evaluated, turns, LIMITS)

    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_without_a_message_only_the_turns_count() -> None:
    assert crossed(None, 10, LIMITS) == []
    assert len(crossed(None, 11, LIMITS)) == 1


def test_a_session_is_told_with_its_closure_and_the_termination_latency() -> None:
    ending = Ending(
        closed=True, ended_at=AT, resolution="resolved", resolution_final=True, told_at=AT + timedelta(seconds=2)
    )

    told = describe(_session(), ending)

    assert told["evaluation"] is None and told["escalation"] is None
    assert told["closure"] == {
        "closed": True,
        "ended_at": "2026-01-15T10:30:00.000Z",
        "resolution": "resolved",
        "resolution_final": True,
        "termination_latency_ms": 2000,
    }


def _session() -> Session:
    return Session(
        id="s-1",
        idempotency_key=None,
        state="started",
        reason=None,
        bot_id="bot",
        customer_id="user",
        media_type="chat",
        intent_name=None,
        intent_confidence=None,
        sentiment_score=None,
        turns=1,
        escalated=False,
        queue_id=None,
        conversation_id="c-1",
        requested_at=AT,
        started_at=AT,
        is_fresh=False,
    )
