"""What Genesys Cloud makes of a customer's first message: intent, confidence, sentiment; and who is to answer it."""

from dataclasses import dataclass
from urllib.parse import quote

from crm_sync.closure import JSON
from crm_sync.genesys.client import GenesysClient, not_understood
from crm_sync.settings_sessions import SessionSettings

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Confidence lies between 0 and 1, sentiment between -1 and 1. None is unknown, which is not zero."""

    intent_name: str | None
    intent_confidence: float
    sentiment_score: float | None


def evaluate(client: GenesysClient, *, text: str, bot_id: str) -> Evaluation:
    """Return the evaluation of a message by the tutorial's contract; raises AdapterFailure when there is none."""
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
    return Evaluation(
        intent_name=_name(answer.get("intentName")),
        intent_confidence=confidence,
        sentiment_score=_number(answer.get("sentimentScore")),
    )


def detect(client: GenesysClient, text: str, settings: SessionSettings) -> Evaluation | None:
    """Return the likeliest intent by the platform's language understanding, or None where none is configured.

    Where no intent is found the confidence is 0. No call of the platform scores a text's sentiment: it is unknown.
    """
    if settings.nlu_domain_id is None or settings.nlu_version_id is None:
        return None
    domain, version = (quote(one, safe="") for one in (settings.nlu_domain_id, settings.nlu_version_id))
    answer = client.request(
        "POST",
        f"/api/v2/languageunderstanding/domains/{domain}/versions/{version}/detect",
        json={"input": {"text": text, "language": settings.language}},
        is_repeatable=True,
        malformed="see that nlu_domain_id, nlu_version_id and language in [sessions] belong together",
    ).json()
    output = answer.get("output") if isinstance(answer, dict) else None
    intents = output.get("intents") if isinstance(output, dict) else None
    if not isinstance(intents, list):
        raise not_understood("the detection of intents")
    found = [(_number(one.get("probability")), _name(one.get("name"))) for one in intents if isinstance(one, dict)]
    known = [(probability, name) for probability, name in found if probability is not None]
    if len(known) < len(intents):
        raise not_understood("the detection of intents")
    confidence, name = max(known, key=lambda one: one[0], default=(0.0, None))
    return Evaluation(intent_name=name, intent_confidence=confidence, sentiment_score=None)


def crossed(evaluated: Evaluation | None, turns: int, limits: SessionSettings) -> list[str]:
    """Return which thresholds are crossed, in words. An unknown sentiment crosses none."""
    reasons = [f"{turns} turns are more than {limits.max_turns}"] if turns > limits.max_turns else []
    if evaluated is not None and evaluated.intent_confidence < limits.confidence_min:
        reasons.append(f"confidence {evaluated.intent_confidence:g} is below {limits.confidence_min:g}")
    sentiment = None if evaluated is None else evaluated.sentiment_score
    if sentiment is not None and sentiment < limits.sentiment_min:
        reasons.append(f"sentiment {sentiment:g} is below {limits.sentiment_min:g}")
    return reasons


def _name(value: JSON) -> str | None:
    return value.replace("\0", "")[:_LONGEST_NAME] if isinstance(value, str) else None


def _number(value: JSON) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
