"""Which kind of event a body holds: by its topic, or by its keys where it has none."""

from typing import Any

import pytest

from crm_sync.genesys.kinds import MERGED, of_keys, of_topic
from tests.unit.genesys.builders import CONVERSATION_ID, sample, topic

COMMON = {"eventTime": 1649237504949, "conversationId": CONVERSATION_ID, "sessionId": "s-1", "mediaType": "VOICE"}


@pytest.mark.parametrize("kind", sorted(MERGED | {"voicemail.end", "outbound", "acd.brand.new"}))
@pytest.mark.parametrize("conversation_id", [CONVERSATION_ID, "{id}"])
def test_a_topic_tells_conversation_and_kind(kind: str, conversation_id: str) -> None:
    assert of_topic(topic(kind, conversation_id)) == (conversation_id, kind)


@pytest.mark.parametrize(
    "other",
    [
        "",
        "conversation:ended",
        f"v2.conversations.{CONVERSATION_ID}",
        f"v2.detail.events.conversation.{CONVERSATION_ID}",
        "v2.detail.events.conversation..customer.end",
        f"v2.detail.events.conversation.{CONVERSATION_ID}.customer.end\n",
        f" v2.detail.events.conversation.{CONVERSATION_ID}.customer.end",
        f"v2xdetail.events.conversation.{CONVERSATION_ID}.customer.end",
    ],
)
def test_another_topic_tells_nothing(other: str) -> None:
    assert of_topic(other) is None


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"flowOutcomeId": "o"}, "flow.outcome"),
        ({"flowOutcomeValue": "SUCCESS", "flowId": "f", "disconnectType": "PEER"}, "flow.outcome"),
        ({"exitReason": "USER_EXIT"}, "flow.end"),
        ({"transferType": "ACD"}, "flow.end"),
        ({"flowId": "f", "disconnectType": "PEER"}, "flow.end"),
        ({"flowId": "f", "connectedDurationMs": 0}, "flow.end"),
        ({"flowId": "f", "flowType": "BOT"}, "flow.start"),
        ({"wrapupCode": "c", "userId": "u"}, "acw"),
        ({"wrapupNotes": "n", "userId": "u"}, "acw"),
        ({"wrapupDurationMs": 0, "userId": "u"}, "acw"),
        ({"wrapupCode": "c", "queueId": "q"}, "wrapup"),
        ({"wrapupNotes": ""}, "wrapup"),
        ({"attributes": {}}, "attributes"),
        ({"voicemailDurationMs": 5, "userId": "u", "disconnectType": "PEER"}, "voicemail.end"),
        ({"outboundCampaignId": "o"}, "outbound"),
        ({"outboundContactId": "o", "userId": "u"}, "outbound"),
        ({"outboundContactListId": "o"}, "outbound"),
        ({"acdOutcome": "ABANDON"}, "acd.end"),
        ({"answeredUserId": "u"}, "acd.end"),
        ({"usedRouting": "STANDARD", "queueId": "q"}, "acd.end"),
        ({"queueId": "q", "disconnectType": "TRANSFER"}, "acd.end"),
        ({"queueId": "q", "connectedDurationMs": 0}, "acd.end"),
        ({"userId": "u", "disconnectType": "PEER", "queueId": "q"}, "user.end"),
        *(({"userId": "u", f"{name}DurationMs": 0}, "user.end")
          for name in ("interacting", "held", "alerting", "contacting", "dialing", "callback")),
        ({"disconnectType": "CLIENT"}, "customer.end"),
        ({"interactingDurationMs": 0}, "customer.end"),
        ({"disconnectType": "CLIENT", "userId": None, "queueId": None, "flowId": None}, "customer.end"),
        ({}, "unrecognised"),
        ({"userId": "u"}, "unrecognised"),
        ({"queueId": "q"}, "unrecognised"),
        ({"disconnectType": None}, "unrecognised"),
        ({"somethingNew": True}, "unrecognised"),
    ],
)  # fmt: skip
def test_a_bare_event_is_recognised_by_the_first_row_that_fits(keys: dict[str, Any], kind: str) -> None:
    assert of_keys(COMMON | keys) == kind


@pytest.mark.parametrize("kind", ["customer.end", "flow.outcome", "user.end", "wrapup"])
def test_a_sample_is_recognised_by_its_keys(kind: str) -> None:
    assert of_keys(sample(kind)) == kind


def test_an_event_that_none_of_the_rows_fits_is_never_an_ending() -> None:
    assert of_keys(COMMON) not in MERGED
