"""Intent and sentiment of a message, by a table of words: the same text always gets the same answer.

    text                                         intent         confidence   sentiment
    I want to cancel my recent order             CancelOrder    0.87         -0.2
    Where is my parcel?                          TrackOrder     0.92          0.0
    I am angry, where is my parcel?              TrackOrder     0.92         -0.6
    anything without a known word                Fallback       0.20 - 0.50   0.0

So thresholds of 0.6 for the confidence, as in the tutorial's example, and -0.5 for the sentiment pass the first two
texts and send the last two to a person.
"""

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the pretend language model thinks of a message."""

    intent: str
    confidence: float
    sentiment: float


_INTENTS = (
    (Evaluation(intent="CancelOrder", confidence=0.87, sentiment=-0.2), frozenset({"cancel", "cancellation"})),
    (Evaluation(intent="Refund", confidence=0.81, sentiment=-0.3), frozenset({"refund", "refunded"})),
    (Evaluation(intent="TrackOrder", confidence=0.92, sentiment=0.0), frozenset({"track", "where", "parcel"})),
    (Evaluation(intent="Billing", confidence=0.78, sentiment=-0.1), frozenset({"invoice", "bill", "charged"})),
    (Evaluation(intent="ResetPassword", confidence=0.95, sentiment=0.0), frozenset({"password", "login"})),
)
_MOODS = {
    **dict.fromkeys(("angry", "hate", "ridiculous", "terrible", "unacceptable", "useless", "worst"), -0.6),
    **dict.fromkeys(("annoyed", "disappointed", "unhappy"), -0.3),
    **dict.fromkeys(("great", "love", "thanks"), 0.4),
}


def evaluate(text: str) -> Evaluation:
    """Return the first intent of the table that a word of the text names, its sentiment moved by words of mood."""
    words = set(re.findall(r"\w+", text.casefold()))
    intent = next((known for known, names in _INTENTS if names & words), _fallback(text))
    sentiment = intent.sentiment + sum(_MOODS.get(word, 0.0) for word in words)
    return Evaluation(
        intent=intent.intent, confidence=intent.confidence, sentiment=round(min(1.0, max(-1.0, sentiment)), 2)
    )


def _fallback(text: str) -> Evaluation:
    digest = hashlib.sha256(text.encode()).digest()
    return Evaluation(intent="Fallback", confidence=round(0.2 + digest[0] % 31 / 100, 2), sentiment=0.0)
