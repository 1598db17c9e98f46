"""The vendor's own SDK cannot tell the pretend Genesys Cloud from the platform: what it reads, by value.

All of it comes from one run of `vendor_sdk.py`, which also tells each key of an answer that the SDK does not know, and
each value that it reads as another. Our own requests are held against its calls in the same run.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crm_sync import genesys
from crm_sync.sandbox.genesys import create_genesys
from crm_sync.sandbox.genesys_state import GenesysOptions, GenesysState
from crm_sync.sandbox.oauth import OAuthClient
from crm_sync.sandbox.server import serve

SCRIPT = Path(__file__).with_name("vendor_sdk.py")

Read = Callable[[str], Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with ExitStack() as stack:
        urls = []
        for permissions in (None, frozenset[str]()):
            options = GenesysOptions(client=OAuthClient(permissions=permissions))
            state = stack.enter_context(GenesysState(options))
            urls.append(stack.enter_context(serve(create_genesys(state))).url)
        ran = subprocess.run(
            [sys.executable, SCRIPT, *urls],
            # Nothing of ours but the path: the SDK watches HOME, and would heed the proxies of the environment.
            env={"HOME": str(tmp_path_factory.mktemp("home")), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=110,
        )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


@pytest.fixture
def read(told: dict[str, Any]) -> Read:
    def read(scenario: str) -> Any:
        assert told[scenario]["faults"] == []
        return told[scenario]["result"]

    return read


def test_what_the_sdk_does_not_understand_is_seen(read: Read) -> None:
    assert read("watch") == [
        "Trigger.colour is not known",
        "Trigger.matchCriteria[0].path is not known",
        "Trigger.target.id: 5 was read as '5'",
        "Trigger.target.type: 'Lambda' was read as 'outdated_sdk_version'",
        "Trigger.version: '3' was read as 3",
    ]


def test_the_sdk_gets_a_token_and_learns_whose_it_is(read: Read) -> None:
    assert read("account") == ["sandbox", True, "active"]


def test_the_sdk_makes_lists_changes_and_deletes_triggers(read: Read) -> None:
    result = read("triggers")

    topic = "v2.detail.events.conversation.{id}.customer.end"
    assert result["read"] is True
    assert result["fields"] == [2, False, topic, ["TRANSFER"]]
    assert result["listed"] == {"all": 2, "enabled": [True], "other topic": []}
    assert [status for status, *_ in result["refused"]] == [409, 400, 404]
    assert result["refused"][1] == [400, "bad.request", {"field": "eventTTLSeconds"}]


def test_the_sdk_tests_triggers_with_an_object_and_with_a_text(read: Read) -> None:
    assert read("trigger_tests") == {
        "matches": [True, True, True],
        "found": "CLIENT",
        "matched": [True],
        "has topic": True,
    }


def test_the_sdk_looks_up_codes_queues_and_flows(read: Read) -> None:
    assert read("lookups") == {
        "pages": [["Resolved", "Not resolved"], 2, True],
        "code": ["f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21", "Resolved"],
        "of the queue": 3,
        "queues": ["Support"],
        "flow": ["WORKFLOW", True, False, "3.0"],
        "flows": ["DIGITALBOT", "WORKFLOW"],
        "outcomes": 2,
        "refused": [404, "not.found", {}],
    }


def test_the_sdk_leads_bot_sessions_to_their_ends(read: Read) -> None:
    assert read("bot_session") == {
        "waiting": ["WaitForInput", "Hello! How can I help you?"],
        "exit": ["Exit", "AgentRequestedByUser", "CancelOrder", {"Flow.customer_segment": "premium"}],
        "outcome": "FAILURE",
        "disconnect": "TriggeredByUser",
        "refused": [[409, "conflict", {}], [400, "bad.request", {"field": "externalSessionId"}]],
    }


def test_the_sdk_detects_intents(read: Read) -> None:
    assert read("detection") == [[["CancelOrder", 0.87]], []]


def test_the_sdk_asks_for_callbacks_and_hands_conversations_to_people(read: Read) -> None:
    assert read("people") == {
        "asked": True,
        "type": "ACD",
        "same conversation": [True, True, True],
        "refused": [400, "bad.request", {"field": "callbackNumbers"}],
    }


def test_the_sdk_opens_channels_and_subscribes(read: Read) -> None:
    result = read("channels")

    assert [status for status, *_ in result.pop("refused")] == [400, 404]
    assert result == {
        "uri": "ws",
        "mine": [True],
        "states": [["Permitted"], ["Permitted", "Rejected"], ["Permitted"]],
        "cleared": [],
        "transports": ["Websocket", "EventBridge", "ProcessAutomation"],
    }


def test_the_sdk_reads_conversations_by_query_by_job_by_id_and_as_objects(read: Read) -> None:
    result = read("analytics")

    assert [status for status, *_ in result.pop("refused")] == [400, 404]
    assert result == {
        "paged": True,
        "last page": None,
        "states": ["QUEUED", "PENDING"],
        "by job": True,
        "last cursor": None,
        "some": True,
        "one": True,
        "objects": True,
    }


def test_the_sdk_reads_every_kind_of_event(read: Read) -> None:
    assert read("events") == [
        "acd.end", "acd.start", "acw", "attributes", "customer.end", "customer.start", "flow.end", "flow.outcome",
        "flow.start", "user.end", "user.start", "wrapup",
    ]  # fmt: skip


def test_our_requests_are_calls_of_the_sdk_and_every_field_of_theirs_is_one_that_it_knows(read: Read) -> None:
    assert read("ours") == [
        "DELETE /api/v2/processautomation/triggers/{triggerId}",
        "GET /api/v2/analytics/conversations/details",
        "GET /api/v2/analytics/conversations/details/jobs/availability",
        "GET /api/v2/analytics/conversations/details/jobs/{jobId}",
        "GET /api/v2/analytics/conversations/details/jobs/{jobId}/results",
        "GET /api/v2/flows/{flowId}",
        "GET /api/v2/processautomation/triggers",
        "GET /api/v2/processautomation/triggers/topics",
        "GET /api/v2/routing/wrapupcodes",
        "POST /api/v2/analytics/conversations/details/jobs",
        "POST /api/v2/analytics/conversations/details/query",
        "POST /api/v2/conversations/callbacks",
        "POST /api/v2/conversations/{conversationId}/participants/{participantId}/replace/queue",
        "POST /api/v2/languageunderstanding/domains/{domainId}/versions/{domainVersionId}/detect",
        "POST /api/v2/notifications/channels",
        "POST /api/v2/processautomation/triggers",
        "POST /api/v2/textbots/botflows/sessions",
        "POST /api/v2/textbots/botflows/sessions/{sessionId}/turns",
        "PUT /api/v2/notifications/channels/{channelId}/subscriptions",
        "PUT /api/v2/processautomation/triggers/{triggerId}",
    ]


def test_no_path_of_the_platform_is_left_out(read: Read) -> None:
    ours_alone = {"/api/v2/conversations/message/evaluate", "/api/v2/integrations/webhooks"}
    source = "".join(path.read_text() for path in Path(genesys.__file__).parent.glob("*.py"))
    asked_for = {call.split()[1] for call in read("ours")}

    for beginning in set(re.findall(r'"(/api/v2/[^"{]+)', source)) - ours_alone:
        assert any(path.startswith(beginning) for path in asked_for), beginning


def test_the_sdk_raises_every_failure_with_its_status_and_obeys_retry_after(read: Read) -> None:
    assert read("troubles") == {
        "429": [429, "too.many.requests", {}],
        "500": [500, "internal.server.error", {}],
        "503": [503, "service.unavailable", {}],
        "in the end": 3,
        "401": [401, "bad.credentials", {}],
    }


def test_the_sdk_learns_which_permission_lacks(read: Read) -> None:
    add, view, codes = read("permissions")

    assert add == [403, "missing.permissions", {"permissions": "processautomation:trigger:add"}]
    assert view[:2] == [403, "missing.any.permissions"]
    assert codes == [403, "missing.permissions", {"permissions": "routing:wrapupCode:view"}]
