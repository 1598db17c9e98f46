"""The pretend language model: always the same answer, and demo texts on either side of the thresholds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.sandbox.evaluation import evaluate


def test_the_text_of_the_tutorial_gets_the_documented_answer() -> None:
    thought = evaluate("I want to cancel my recent order")

    assert (thought.intent, thought.confidence, thought.sentiment) == ("CancelOrder", 0.87, -0.2)


def test_an_angry_text_falls_below_the_sentiment_of_the_default_threshold() -> None:
    thought = evaluate("I am ANGRY, where is my parcel?")

    assert thought.intent == "TrackOrder"
    assert thought.confidence > 0.6
    assert thought.sentiment == -0.6


def test_a_text_without_a_known_word_falls_below_the_confidence_of_the_default_threshold() -> None:
    thought = evaluate("Blue elephants dance at noon")

    assert thought.intent == "Fallback"
    assert 0.2 <= thought.confidence <= 0.5


@pytest.mark.parametrize("text", ["password", "My PASSWORD!", "password password"])
def test_case_punctuation_and_repetition_change_nothing(text: str) -> None:
    assert evaluate(text) == evaluate("password")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_gets_the_same_answer_each_time_and_within_the_scales(text: str) -> None:
    thought = evaluate(text)

    assert thought == evaluate(text)
    assert 0 <= thought.confidence <= 1
    assert -1 <= thought.sentiment <= 1
