"""docs/genesys-setup.md: what an admin pastes from it is JSON, is what we register, and brings events that we read."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.closure import EventStatus
from crm_sync.genesys import events, kinds, triggers
from crm_sync.genesys.events import Context
from crm_sync.genesys.webhooks import OUR_PATH
from crm_sync.settings_genesys import GenesysSettings, TriggerSettings

PAGE = (Path(__file__).parents[2] / "docs" / "genesys-setup.md").read_text(encoding="utf-8")
BLOCKS: list[Any] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
CONTEXT = Context(source="webhook", received_at=clock.now())


def with_keys(*keys: str) -> list[dict[str, Any]]:
    """Return the blocks that have these keys at their top."""
    return [block for block in BLOCKS if all(key in block for key in keys)]


def parsed(body: Any) -> events.Event:
    (event,), _ = events.parse(json.dumps(body).encode(), CONTEXT)
    return event


ARRIVING = [*with_keys("conversationId"), *with_keys("detail-type", "detail")]


def test_every_block_is_one_that_a_test_here_looks_at() -> None:
    looked_at = [
        *ARRIVING,
        *with_keys("config", "contract"),
        *with_keys("target"),
        *with_keys("integrationType"),
        *with_keys("properties"),
        *with_keys("source", "detail-type"),
        *with_keys("outboundNotificationWebhookUrl"),
        *with_keys("channel"),
    ]

    assert len(BLOCKS) == 11
    assert all(block in looked_at for block in BLOCKS)


@pytest.mark.parametrize("body", ARRIVING, ids=lambda body: str(body.get("topicName") or body.get("detail-type")))
def test_what_arrives_is_understood_as_what_it_is_called(body: dict[str, Any]) -> None:
    event = parsed(body)
    topic = body.get("topicName") or body.get("detail-type") or f"{triggers.TOPIC}user.end"

    assert (event.status, event.reason) == (EventStatus.ACCEPTED, None)
    assert event.kind == topic.removeprefix(triggers.TOPIC)


def test_the_detail_of_an_envelope_alone_is_the_same_event() -> None:
    (envelope,) = with_keys("detail-type", "detail")

    assert parsed(envelope["detail"]).dedupe_key == parsed(envelope).dedupe_key


def test_the_data_action_posts_these_bodies_to_us_with_the_secret() -> None:
    (action,) = with_keys("config", "contract")
    request = action["config"]["request"]
    schema = action["contract"]["input"]["inputSchema"]

    assert request["requestUrlTemplate"].endswith(OUR_PATH)
    assert request["headers"]["X-Webhook-Secret"] == "${credentials.webhookSecret}"
    assert set(schema["required"]) == {"conversationId", "eventTime"}
    named = {"string": str, "number": int}
    for body in with_keys("conversationId"):
        assert {key: type(value) for key, value in body.items()} == {
            key: named[schema["properties"][key]["type"]] for key in body
        }


def test_the_keys_that_a_workflow_passes_on_are_inputs_of_the_data_action() -> None:
    (action,) = with_keys("config", "contract")
    rows = re.findall(r"^\| `([a-z.]+)` \| `(v2[^`]+)` \| (.*) \|$", PAGE, re.MULTILINE)

    assert [kind for kind, _, _ in rows] == list(TriggerSettings().kinds)
    assert [topic for _, topic, _ in rows] == [triggers.TOPIC + kind for kind in TriggerSettings().kinds]
    keys = {key for _, _, told in rows for key in re.findall(r"`(\w+)`", told)}
    assert keys <= set(action["contract"]["input"]["inputSchema"]["properties"])


def test_the_trigger_is_the_one_that_is_registered() -> None:
    (body,) = with_keys("target")
    given = TriggerSettings()
    wanted = triggers.describe(
        "customer.end",
        prefix=given.name,
        workflow_id=body["target"]["id"],
        data_format=given.data_format,
        leave_out_transfers=given.leave_out_transfers,
    )

    assert body == {"name": wanted.name, "topicName": wanted.topic, **wanted.fields}


def test_the_integration_sends_only_kinds_that_we_read_and_the_rule_lets_them_through() -> None:
    (integration,) = with_keys("properties")
    (pattern,) = [block for block in with_keys("source", "detail-type") if "detail" not in block]
    (envelope,) = with_keys("detail-type", "detail")
    topics = integration["properties"]["eventFilter"]

    assert {(kinds.of_topic(topic) or ("", ""))[1] for topic in topics} <= kinds.MERGED
    assert set(TriggerSettings().kinds) <= {topic.removeprefix(triggers.TOPIC) for topic in topics}
    assert all(topic.startswith(pattern["detail-type"][0]["prefix"]) for topic in topics)
    assert envelope["source"].startswith(pattern["source"][0]["prefix"])


def test_a_message_is_kept_and_ends_nothing() -> None:
    (message,), (integration,) = with_keys("channel"), with_keys("outboundNotificationWebhookUrl")

    assert parsed(message).status is EventStatus.IGNORED
    assert integration["outboundNotificationWebhookUrl"].endswith(OUR_PATH)
    assert len(integration["outboundNotificationWebhookSignatureSecretToken"]) > 15


def test_the_settings_that_it_shows_are_settings() -> None:
    shown = [tomllib.loads(block)["genesys"] for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]

    assert len(shown) == 2
    for genesys in shown:
        GenesysSettings.model_validate({"client_id": "a", "client_secret": "b"} | genesys)
