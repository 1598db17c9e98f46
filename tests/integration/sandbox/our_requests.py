"""Every request that we make of the real platform, held against the call of the vendor's SDK that has its path."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import PureCloudPlatformClientV2 as sdk
from pydantic import SecretStr

from crm_sync.closure import JSON
from crm_sync.genesys import analytics, bot_flows, directory, evaluation, notifications, people, triggers
from crm_sync.genesys.analytics import Window
from crm_sync.genesys.auth import Tokens
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.limiter import Limiter, OAuthClient, OAuthClients
from crm_sync.genesys.people import Handover
from crm_sync.genesys.session_request import Party, SessionRequest
from crm_sync.settings_sessions import SessionSettings
from crm_sync.transport import HTTPTransport, Response
from tests.integration.sandbox.sdk_models import faults_of

APIS = ("analytics", "architect", "conversations", "language_understanding", "notifications", "process_automation",
        "routing", "textbots")  # fmt: skip
WORKFLOW = "b008976c-e085-43b7-b27d-9c0efd5fbfb5"
BOT = "12aeeeff-c0af-4f8b-b647-7a350630419f"
SUPPORT = "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"
SESSIONS = SessionSettings(nlu_domain_id="d-1", nlu_version_id="v-1", human_queue_id=SUPPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    params: tuple[str, ...]
    body: str | None


@dataclass(slots=True)
class Recorder:
    """Sends what it is given, and remembers it."""

    inner: HTTPTransport
    sent: list[Request] = field(default_factory=list)

    def send(
        self, method: str, url: str, *, body: bytes | None, params: Mapping[str, str] | None, **rest: Any
    ) -> Response:
        text = None if body is None else body.decode()
        self.sent.append(Request(method=method, path=urlsplit(url).path, params=tuple(params or ()), body=text))
        return self.inner.send(method, url, body=body, params=params, **rest)

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A call of the SDK: its path with names in braces, the parameters of its query, and the class of its body."""

    method: str
    path: str
    params: frozenset[str]
    body: str | None

    def fits(self, request: Request) -> bool:
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.path))
        return self.method == request.method and re.fullmatch(pattern, request.path) is not None


def operations() -> Iterator[Operation]:
    """Read from the SDK's source what it calls."""
    for name in APIS:
        source = (Path(sdk.__file__).parent / "apis" / f"{name}_api.py").read_text()
        for function in source.split("\n    def ")[1:]:
            path = re.search(r"resource_path = '([^']+)'", function)
            method = re.search(r"call_api\(resource_path, '(\w+)'", function)
            named = re.search(r"body_params = params\['(\w+)'\]", function)
            body = re.search(rf":param (\S+) {named[1]}:", function) if named else None
            if path and method:
                yield Operation(
                    method=method[1],
                    path=path[1],
                    params=frozenset(re.findall(r"query_params\['(\w+)'\]", function)),
                    body=body and body[1],
                )


def check(url: str) -> tuple[list[str], list[str]]:
    """Make all our requests, and return the calls of the SDK that they are, and where they differ from these."""
    known = list(operations())
    calls, faults = set(), []
    for request in requests_of(url):
        # A path without names is nearer than one with: `…/details/jobs/availability` is no job.
        fitting = sorted((one for one in known if one.fits(request)), key=lambda one: one.path.count("{"))
        if not fitting:
            faults.append(f"{request.method} {request.path} is no call of the SDK")
            continue
        calls.add(f"{request.method} {fitting[0].path}")
        faults += differences(request, fitting[0])
    return sorted(calls), faults


def differences(request: Request, operation: Operation) -> list[str]:
    """Return where a request is not what the SDK's call makes."""
    where = f"{operation.method} {operation.path}"
    faults = [f"{where}: {name} is no parameter" for name in request.params if name not in operation.params]
    if request.body is None or operation.body is None:
        is_same = (request.body is None) == (operation.body is None)
        return faults if is_same else [*faults, f"{where}: body {request.body} where {operation.body} is expected"]
    return faults + [f"{where}: {fault}" for fault in faults_of(request.body, operation.body)]


def requests_of(url: str) -> list[Request]:
    """Make every call that we know of, in the order in which the platform allows them."""
    recorder = Recorder(HTTPTransport(allow_private=True))
    tokens = Tokens(
        url=f"{url}/oauth/token",
        client_id="sandbox",
        client_secret=SecretStr("sandbox-secret"),
        sender=HTTPTransport(allow_private=True),
        dialect="platform",
    )
    clients = OAuthClients([OAuthClient(tokens=tokens, limiter=Limiter(300))])
    client = GenesysClient(api_url=url, clients=clients, sender=lambda _: recorder)
    try:
        for make in (register, look_up, lead_a_bot, call_people, ask_analytics, follow):
            make(client)
    finally:
        client.close()
    return recorder.sent


def register(client: GenesysClient) -> None:
    wanted = [
        triggers.describe(
            kind, prefix="ours", workflow_id=WORKFLOW, data_format="TopLevelPrimitives", leave_out_transfers=True
        )
        for kind in notifications.KINDS
        if triggers.TOPIC + kind in triggers.topics(client)
    ]
    for one in wanted:
        triggers.create(client, one)
    listed = [one for one in triggers.listed(client, [one.topic for one in wanted]) if one.name.startswith("ours ")]
    assert len(listed) == len(wanted) > 1
    for trigger in listed:
        triggers.replace(client, trigger, next(one for one in wanted if one.name == trigger.name))
        triggers.remove(client, trigger.id)
    assert triggers.workflow_fault(client, WORKFLOW) is None


def look_up(client: GenesysClient) -> None:
    assert directory.wrapup_codes(client)


def lead_a_bot(client: GenesysClient) -> None:
    for media_type in ("chat", "call", "message"):
        session_id = bot_flows.launch(client, request(media_type), session_id=f"s-{media_type}", settings=SESSIONS)
        first = bot_flows.take_turn(client, session_id)
        bot_flows.take_turn(client, session_id, previous=first.id, text="I want to cancel my order.")
    assert evaluation.detect(client, "cancel my order", SESSIONS) is not None


def call_people(client: GenesysClient) -> None:
    for handover in (Handover.of(request("chat")), Handover(name="Ada", callback_number="+13175550100")):
        people.hand_over(client, handover, session_id="s-1", queue_id=SUPPORT, reason="It was asked for.")


def ask_analytics(client: GenesysClient) -> None:
    since = datetime(2024, 1, 15, tzinfo=UTC)
    day = Window(since=since, until=since + timedelta(days=1))
    for record in analytics.query_page(client, day, cursor=None, page_size=25).records:
        assert isinstance(record, dict)
        analytics.some(client, [str(record["conversationId"])])
    analytics.available_until(client)
    job_id = analytics.submit_job(client, day)
    while not analytics.is_job_done(client, job_id):
        pass
    page = analytics.job_page(client, job_id, cursor=None, page_size=30)
    assert page.next_cursor is not None
    analytics.job_page(client, job_id, cursor=page.next_cursor, page_size=30)


def follow(client: GenesysClient) -> None:
    channel = notifications.create(client)
    topics = [*notifications.topics_of("c-1"), notifications.topic_of_queue(SUPPORT)]
    assert notifications.subscribe(client, channel, topics) == []


def request(media_type: str) -> SessionRequest:
    attributes: dict[str, JSON] = {"order": "ORD-998877", "is_first": True, "total": 12.5}
    return SessionRequest(
        to=(Party(id=BOT),),
        sender=Party(id="customer-1", name="Ada"),
        media_type=media_type,
        attributes=attributes,
        conversation_id="c-1",
        participant_id="p-1",
    )
