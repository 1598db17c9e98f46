"""What Genesys Cloud's language service makes of a customer's first message: intent, confidence, sentiment."""

from dataclasses import dataclass

from crm_sync.closure import JSON
from crm_sync.genesys.client import GenesysClient, not_understood

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Confidence lies between 0 and 1, sentiment between -1 and 1. None is unknown, which is not zero."""

    intent_name: str | None
    intent_confidence: float
    sentiment_score: float | None


def evaluate(client: GenesysClient, *, text: str, bot_id: str) -> Evaluation:
    """Return the evaluation of a message; raises AdapterFailure when there is none."""
    answer = client.request(
        "POST",
        "/api/v2/conversations/message/evaluate",
        json={"text": text, "botId": bot_id},
        is_repeatable=True,
        malformed="the message must be a text that is not empty, and the first of `to` must carry the bot's id",
    ).json()
    if not isinstance(answer, dict):
        raise not_understood("the evaluation")
    confidence = _number(answer.get("intentConfidence"))
    if confidence is None:
        raise not_understood("the evaluation")
    name = answer.get("intentName")
    return Evaluation(
        intent_name=name.replace("\0", "")[:_LONGEST_NAME] if isinstance(name, str) else None,
        intent_confidence=confidence,
        sentiment_score=_number(answer.get("sentimentScore")),
    )


def _number(value: JSON) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
