"""The vendor's own SDK against the pretend Genesys Cloud: run as a script, because its import is slow and watches HOME.

    python vendor_sdk.py URL URL_OF_ONE_WITHOUT_PERMISSIONS

prints `{scenario: {"result": …, "faults": […]}}`. The SDK forgives much: it drops unknown keys, and puts None or
`outdated_sdk_version` where it understands nothing. So every answer is compared with its model, key by key and value
by value, and what differs is a fault. A new scenario is a function of `Peer` and a line in SCENARIOS.
"""

import json
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import PureCloudPlatformClientV2 as sdk
import structlog
from PureCloudPlatformClientV2.rest import ApiException

from crm_sync.sandbox.client import GenesysControl
from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.stories import STORIES, generate
from tests.integration.sandbox import our_requests
from tests.integration.sandbox.our_requests import BOT, SUPPORT, WORKFLOW
from tests.integration.sandbox.sdk_models import WatchingClient, answer_of

END = "v2.detail.events.conversation.{id}.customer.end"
DAY = datetime(2024, 1, 15, tzinfo=UTC)
EVENT_CLASSES = {
    "customer.start": "CustomerStartDetailEventTopicCustomerStartEvent",
    "customer.end": "CustomerEndDetailEventTopicCustomerEndEvent",
    "user.start": "UserStartDetailEventTopicUserStartEvent",
    "user.end": "UserEndDetailEventTopicUserEndEvent",
    "acd.start": "AcdStartDetailEventTopicAcdStartEvent",
    "acd.end": "AcdEndDetailEventTopicAcdEndEvent",
    "acw": "AcwDetailEventTopicAfterCallWorkEvent",
    "wrapup": "WrapupDetailEventTopicWrapupEvent",
    "flow.start": "FlowStartDetailEventTopicFlowStartEvent",
    "flow.end": "FlowEndDetailEventTopicFlowEndEvent",
    "flow.outcome": "FlowOutcomeDetailEventTopicFlowOutcomeEvent",
}
"""The SDK has no class for `attributes`."""


class Peer:
    """An API client with a token, and the control API of what it talks to."""

    def __init__(self, url: str) -> None:
        self.client = WatchingClient()
        self.client.set_gateway("127.0.0.1", "http", urlsplit(url).port, "", "")
        self.client.get_client_credentials_token("sandbox", "sandbox-secret")
        self.control = GenesysControl(url)

    def refusal(self, call: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return status, code and parameters of the error that a call raises, whose body is compared as well."""
        try:
            call(*arguments)
        except ApiException as error:
            read = self.client.deserialize(answer_of(error.body), "ErrorBody")
            assert read.context_id == error.headers["ININ-Correlation-Id"]
            assert read.status == error.status
            return [error.status, read.code, read.message_params]
        raise AssertionError("The call was not refused.")


def trigger(**changes: Any) -> dict[str, Any]:
    return {
        "name": "crm-sync customer.end",
        "topicName": END,
        "enabled": True,
        "description": "Posts conversation ends to crm-sync",
        "target": {"type": "Workflow", "id": WORKFLOW, "workflowTargetSettings": {"dataFormat": "TopLevelPrimitives"}},
        "matchCriteria": [
            {"jsonPath": "disconnectType", "operator": "NotIn", "values": ["TRANSFER"]},
            {"jsonPath": "conversationId", "operator": "Exists", "value": True},
        ],
    } | changes


def watch(peer: Peer) -> Any:
    """Let the SDK read what it does not understand, and return the faults that this makes."""
    answer = {
        "id": "t-1",
        "colour": "red",
        "version": "3",
        "target": {"type": "Lambda", "id": 5},
        "matchCriteria": [{"operator": "Exists", "path": "x"}],
    }
    peer.client.deserialize(answer_of(json.dumps(answer)), "Trigger")
    found, peer.client.faults = peer.client.faults, []
    return sorted(found)


def account(peer: Peer) -> Any:
    token = sdk.TokensApi(peer.client).get_tokens_me()
    organization = sdk.OrganizationApi(peer.client).get_organizations_me()
    return [token.o_auth_client.id, token.organization.id == organization.id, organization.state]


def triggers(peer: Peer) -> Any:
    api = sdk.ProcessAutomationApi(peer.client)
    made = api.post_processautomation_triggers(trigger())
    delayed = api.post_processautomation_triggers(trigger(name="Late", delayBySeconds=60))
    changed = api.put_processautomation_trigger(made.id, trigger(version=made.version, enabled=False))
    read = api.get_processautomation_trigger(made.id)
    stale = peer.refusal(api.put_processautomation_trigger, made.id, trigger(version=1))
    wrong = peer.refusal(api.post_processautomation_triggers, trigger(eventTTLSeconds=9))
    listed = {
        "all": len(triggers_of_all_pages(api, page_size="1")),
        "enabled": [one.id == delayed.id for one in triggers_of_all_pages(api, topic_name=END, enabled=True)],
        "other topic": triggers_of_all_pages(api, topic_name=END.replace("customer", "user")),
    }
    api.delete_processautomation_trigger(made.id)
    gone = peer.refusal(api.get_processautomation_trigger, made.id)
    api.delete_processautomation_trigger(delayed.id)
    fields = [changed.version, changed.enabled, changed.topic_name, changed.match_criteria[0].values]
    return {"read": read == changed, "fields": fields, "listed": listed, "refused": [stale, wrong, gone]}


def triggers_of_all_pages(api: Any, **query: Any) -> list[Any]:
    page = api.get_processautomation_triggers(**query)
    found = list(page.entities)
    while page.next_uri:
        after = parse_qs(urlsplit(page.next_uri).query)["after"][0]
        page = api.get_processautomation_triggers(**query, after=after)
        found += page.entities
    return found


def trigger_tests(peer: Peer) -> Any:
    api = sdk.ProcessAutomationApi(peer.client)
    made = api.post_processautomation_triggers(trigger())
    event = {"conversationId": "c-1", "eventTime": 1649237504949, "disconnectType": "CLIENT"}
    as_object = api.post_processautomation_trigger_test(made.id, body=event)
    as_text = api.post_processautomation_trigger_test(made.id, body=json.dumps(event))
    by_topic = api.post_processautomation_triggers_topic_test(END, body=event)
    topics = api.get_processautomation_triggers_topics(page_size="200").entities
    api.delete_processautomation_trigger(made.id)
    return {
        "matches": [as_object.trigger_matches, as_text.trigger_matches, as_object.target_validation.matches],
        "found": as_object.json_path_validation.details[0].json_path_extraction[0].value,
        "matched": [one.id == made.id for one in by_topic.trigger_match_validation.matched_triggers],
        "has topic": END in topics,
    }


def lookups(peer: Peer) -> Any:
    routing, architect = sdk.RoutingApi(peer.client), sdk.ArchitectApi(peer.client)
    page = routing.get_routing_wrapupcodes(page_size=2, page_number=1)
    code = routing.get_routing_wrapupcode(page.entities[0].id)
    flow = architect.get_flow(WORKFLOW)
    return {
        "pages": [[one.name for one in page.entities], page.page_count, page.next_uri is not None],
        "code": [code.id, code.name],
        "of the queue": len(routing.get_routing_queue_wrapupcodes(SUPPORT).entities),
        "queues": [one.name for one in routing.get_routing_queues(id=[SUPPORT, "unknown"]).entities],
        "flow": [flow.type, flow.active, flow.deleted, flow.published_version.id],
        "flows": sorted(one.type for one in architect.get_flows(id=[WORKFLOW, BOT]).entities),
        "outcomes": len(architect.get_flows_outcomes().entities),
        "refused": peer.refusal(routing.get_routing_wrapupcode, "unknown"),
    }


def bot_session(peer: Peer) -> Any:
    api = sdk.TextbotsApi(peer.client)
    channel = {"name": "Messaging", "inputModes": ["Text"], "outputModes": ["Text"], "userAgent": {"name": "Open"}}
    launch = {"flow": {"id": BOT}, "externalSessionId": "ORD-998877-1", "language": "en-us", "channel": channel}
    variables = {"Flow.customer_segment": "premium"}
    session = api.post_textbots_botflows_sessions(launch | {"inputData": {"variables": variables}})
    turn = api.post_textbots_botflows_session_turns(session.id, {"inputEventType": "NoOp"})
    waiting = turn.next_action_type, turn.prompts.text_prompts.segments[0].text
    said = {"mode": "Text", "alternatives": [{"transcript": {"text": "Cancel, human please!", "confidence": 1.0}}]}
    body = {"previousTurn": {"id": turn.id}, "inputEventType": "UserInput", "inputEventUserInput": said}
    last = api.post_textbots_botflows_session_turns(session.id, body)
    left = last.next_action_exit
    other = api.post_textbots_botflows_sessions(launch)
    first = api.post_textbots_botflows_session_turns(other.id, {"inputEventType": "NoOp"})
    gone = {"inputEventType": "UserDisconnect", "previousTurn": {"id": first.id}}
    return {
        "waiting": waiting,
        "exit": [last.next_action_type, left.reason, left.active_intent, left.output_data.variables],
        "outcome": left.flow_outcomes[0].outcome_value,
        "disconnect": api.post_textbots_botflows_session_turns(other.id, gone).next_action_disconnect.reason,
        "refused": [
            peer.refusal(api.post_textbots_botflows_session_turns, session.id, body),
            peer.refusal(api.post_textbots_botflows_sessions, launch | {"externalSessionId": None}),
        ],
    }


def detection(peer: Peer) -> Any:
    detect = sdk.LanguageUnderstandingApi(peer.client).post_languageunderstanding_domain_version_detect
    answers = [detect("d-1", "v-1", {"input": {"text": text}}) for text in ("cancel my order", "gibberish")]
    return [[(one.name, one.probability) for one in answer.output.intents] for answer in answers]


def people(peer: Peer) -> Any:
    api = sdk.ConversationsApi(peer.client)
    body = {"queueId": SUPPORT, "callbackNumbers": ["+13175550100"], "data": {"order_id": "ORD-998877"}}
    callback = api.post_conversations_callbacks(body)
    where = callback.conversation.id, "p-1"
    api.post_conversation_participant_replace_queue(*where, {"queueId": SUPPORT, "transferType": "Unattended"})
    api.patch_conversation_participant_attributes(*where, {"attributes": {"order": "ORD-1"}})
    told = peer.control.callbacks()
    return {
        "asked": told["callbacks"][0]["asked"] == body,
        "type": callback.callback_identifiers[0].type,
        "same conversation": [one["conversationId"] == where[0] for kind in told.values() for one in kind],
        "refused": peer.refusal(api.post_conversations_callbacks, body | {"callbackNumbers": []}),
    }


def channels(peer: Peer) -> Any:
    api = sdk.NotificationsApi(peer.client)
    channel = api.post_notifications_channels()
    known, unknown = {"id": END.replace("{id}", "c-1")}, {"id": "v2.unknown"}
    put = api.put_notifications_channel_subscriptions(channel.id, [known])
    post = api.post_notifications_channel_subscriptions(channel.id, [unknown], ignore_errors=True)
    api.head_notifications_channel(channel.id)
    listed = api.get_notifications_channel_subscriptions(channel.id)
    expanded = api.get_notifications_availabletopics(expand=["transports", "requiresPermissions"]).entities
    refused = [
        peer.refusal(api.put_notifications_channel_subscriptions, channel.id, [unknown]),
        peer.refusal(api.get_notifications_channel_subscriptions, "unknown"),
    ]
    api.delete_notifications_channel_subscriptions(channel.id)
    return {
        "uri": urlsplit(channel.connect_uri).scheme,
        "mine": [one.id == channel.id for one in api.get_notifications_channels().entities],
        "states": [[one.state for one in page.entities] for page in (put, post, listed)],
        "cleared": api.get_notifications_channel_subscriptions(channel.id).entities,
        "transports": expanded[0].transports,
        "refused": refused,
    }


def analytics(peer: Peer) -> Any:
    """Read the same conversations in every way there is; the comparison of each answer is what counts."""
    api, day = sdk.AnalyticsApi(peer.client), "2024-01-15T00:00:00.000Z/2024-01-16T00:00:00.000Z"
    since, until = day.split("/")
    played = peer.control.play(count=40, seed=3, since=since, until=until, tell=False)
    ids = {one["id"] for one in played}
    ended = {"type": "dimension", "dimension": "conversationEnd", "operator": "exists"}
    query = {"interval": day, "conversationFilters": [{"type": "and", "predicates": [ended]}]}
    pages = [
        api.post_analytics_conversations_details_query(query | {"paging": {"pageSize": 25, "pageNumber": number}})
        for number in (1, 2, 3)
    ]
    job = api.post_analytics_conversations_details_jobs({"interval": day})
    states = []
    while (state := api.get_analytics_conversations_details_job(job.job_id).state) not in ("FULFILLED", "FAILED"):
        states.append(state)
    first = api.get_analytics_conversations_details_job_results(job.job_id, page_size=30)
    rest = api.get_analytics_conversations_details_job_results(job.job_id, page_size=30, cursor=first.cursor)
    some = api.get_analytics_conversations_details(id=sorted(ids)[:5])
    one = api.get_analytics_conversation_details(sorted(ids)[0])
    objects = [sdk.ConversationsApi(peer.client).get_conversation(each) for each in sorted(ids)]
    return {
        "paged": {found.conversation_id for page in pages for found in page.conversations or []} == ids,
        "last page": pages[-1].conversations,
        "states": states,
        "by job": {found.conversation_id for page in (first, rest) for found in page.conversations} == ids,
        "last cursor": rest.cursor,
        "some": sorted(found.conversation_id for found in some.conversations) == sorted(ids)[:5],
        "one": one.conversation_id == sorted(ids)[0],
        "objects": {found.id for found in objects} == ids,
        "refused": [
            peer.refusal(api.post_analytics_conversations_details_query, {"interval": day, "order": "up"}),
            peer.refusal(api.get_analytics_conversations_details_job, "unknown"),
        ],
    }


def events(peer: Peer) -> Any:
    """Let the SDK read what the conversations of all stories are told by, each kind as the class of its topic."""
    conversations = generate(7, 60, since=DAY, until=DAY + timedelta(days=1), stories=tuple(STORIES))
    kinds = set()
    for event in (event for one in conversations for event in events_of(one)):
        if event.kind in EVENT_CLASSES:
            peer.client.deserialize(answer_of(json.dumps(event.body)), EVENT_CLASSES[event.kind])
        kinds.add(event.kind)
    return sorted(kinds)


def ours(peer: Peer) -> Any:
    """Compare our own requests with the calls of the SDK, and their bodies with its models. Needs conversations."""

    calls, faults = our_requests.check(peer.control.url)
    peer.client.faults += faults
    return calls


def troubles(peer: Peer) -> Any:
    api = sdk.RoutingApi(peer.client)
    found = {}
    for status in (429, 500, 503):
        peer.control.add_fault(path="/api/v2/routing/wrapupcodes", status=status)
        found[str(status)] = peer.refusal(api.get_routing_wrapupcodes)
    peer.control.add_fault(path="/api/v2/routing/wrapupcodes", status=429, retry_after=0, times=2)
    found["in the end"] = len(api.get_routing_wrapupcodes().entities)
    token, peer.client.access_token = peer.client.access_token, "wrong"
    found["401"] = peer.refusal(api.get_routing_wrapupcodes)
    peer.client.access_token = token
    return found


def permissions(peer: Peer) -> Any:
    automation, routing = sdk.ProcessAutomationApi(peer.client), sdk.RoutingApi(peer.client)
    return [
        peer.refusal(automation.post_processautomation_triggers, trigger()),
        peer.refusal(automation.get_processautomation_triggers),
        peer.refusal(routing.get_routing_wrapupcodes),
    ]


SCENARIOS: dict[str, Callable[[Peer], Any]] = {
    "watch": watch,
    "account": account,
    "triggers": triggers,
    "trigger_tests": trigger_tests,
    "lookups": lookups,
    "bot_session": bot_session,
    "detection": detection,
    "people": people,
    "channels": channels,
    "analytics": analytics,
    "events": events,
    "ours": ours,
    "troubles": troubles,
    "permissions": permissions,
}


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    able, unable = (Peer(url) for url in sys.argv[1:])
    told = {}
    for name, scenario in SCENARIOS.items():
        peer = unable if name == "permissions" else able
        peer.client.faults = []
        try:
            told[name] = {"result": scenario(peer), "faults": peer.client.faults}
        except Exception:
            told[name] = {"result": None, "faults": [*peer.client.faults, traceback.format_exc()]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
