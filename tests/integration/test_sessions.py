"""Virtual-agent sessions: counted, evaluated, routed, started once, and followed to their closure."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic_core import to_json
from sqlalchemy import text

from crm_sync import clock, follow, initiate
from crm_sync.errors import BadRequest, Conflict, NotFound, Unavailable
from crm_sync.genesys import events
from crm_sync.services import Services
from crm_sync.settings import SessionSettings
from crm_sync.settings_genesys import GenesysSettings
from crm_sync.store import sessions
from crm_sync.store.sessions import Session
from tests.integration.pretend import PretendGenesys, process

START = "/api/v2/conversations"
EVALUATE = "/api/v2/conversations/message/evaluate"
CALM = "I want to cancel my recent order"
ANGRY = "I am angry, where is my parcel?"
VAGUE = "hmm"
Make = Callable[..., Services]


@pytest.fixture
def make(migrated_url: str, genesys: PretendGenesys) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(process(migrated_url, genesys.url, **settings))


@pytest.fixture
def services(make: Make) -> Services:
    return make()


def test_a_session_starts_as_the_contract_says_and_is_remembered(services: Services, genesys: PretendGenesys) -> None:
    session = _start(services, message=CALM, attributes={"order_id": "ORD-998877"})

    assert (session.state, session.escalated, session.reason) == ("started", False, None)
    assert (session.intent_name, session.intent_confidence, session.sentiment_score) == ("CancelOrder", 0.87, -0.2)
    told = genesys.control.conversation(session.conversation_id or "")
    assert told["attributes"] == {"order_id": "ORD-998877", "crmSyncSessionId": session.id}
    assert "routing" not in told
    assert _find(services, session.id) == session


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"message": VAGUE}, "confidence"),
        ({"message": ANGRY}, "sentiment"),
        ({"turns": 11}, "11 turns are more than 10"),
    ],
)
def test_each_threshold_routes_the_conversation_to_people(
    services: Services, genesys: PretendGenesys, change: dict[str, Any], word: str
) -> None:
    session = _start(services, **change)

    assert (session.state, session.escalated, session.queue_id) == ("started", True, "human-support-queue")
    assert word in (session.reason or "")
    told = genesys.control.conversation(session.conversation_id or "")
    assert told["routing"] == {"queueId": "human-support-queue"}


def test_when_people_are_needed_but_have_no_queue_the_session_is_refused(make: Make, genesys: PretendGenesys) -> None:
    session = _start(make(sessions=SessionSettings()), message=ANGRY)

    assert session.state == "refused"
    assert "sentiment" in (session.reason or "") and "human_queue_id" in (session.reason or "")
    assert session.sentiment_score == -0.6
    assert genesys.control.conversations() == []


def test_when_nothing_can_be_evaluated_people_take_over(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path=EVALUATE, status=500)

    session = _start(services, message=CALM)

    assert (session.state, session.escalated) == ("started", True)
    assert session.reason == initiate.EVALUATION_UNAVAILABLE
    assert session.intent_confidence is None


def test_when_nothing_can_be_evaluated_and_people_have_no_queue_it_fails(make: Make, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path=EVALUATE, status=500)

    session = _start(make(sessions=SessionSettings()), message=CALM)

    assert session.state == "failed"
    assert "human_queue_id" in (session.reason or "")
    assert genesys.control.conversations() == []


def test_at_the_limit_a_session_is_refused_with_the_count(services: Services, genesys: PretendGenesys) -> None:
    begun = [_start(services) for _ in range(5)]
    assert {session.state for session in begun} == {"started"}

    refused = _start(services)
    assert refused.state == "refused" and "5/5" in (refused.reason or "")

    genesys.control.end(begun[0].conversation_id or "")
    assert _start(services).state == "started"
    assert _start(services, to=[{"id": "another bot"}]).state == "started"


def test_sessions_that_start_at_once_do_not_pass_the_limit_together(make: Make, genesys: PretendGenesys) -> None:
    processes = [make() for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        states = list(pool.map(lambda number: _start(processes[number % 3]).state, range(12)))

    assert states.count("started") == 5
    assert states.count("started") == len(genesys.control.conversations())
    assert set(states) == {"started", "refused"}


def test_the_rate_limit_is_met_with_waits_and_then_told(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path=START, method="POST", status=429, times=2)
    waits: list[float] = []
    assert _start(services, sleep=waits.append).state == "started"
    assert waits == [1, 2]

    genesys.control.add_fault(path=START, method="POST", status=429, retry_after=3, times=3)
    waits.clear()
    session = _start(services, sleep=waits.append)
    assert session.state == "failed" and "Retry-After" in (session.reason or "")
    assert waits == [3, 3]
    assert len(genesys.control.conversations()) == 1


def test_a_start_whose_answer_was_lost_is_found_and_not_sent_again(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path=START, method="POST", lose_answer=True)

    session = _start(services, message=ANGRY)

    (conversation,) = genesys.control.conversations()
    assert (session.state, session.conversation_id) == ("started", conversation["id"])
    assert (session.escalated, "sentiment" in (session.reason or "")) == (True, True)


def test_a_gateway_that_fails_leaves_it_open_and_a_repeated_key_only_looks(
    services: Services, genesys: PretendGenesys
) -> None:
    genesys.control.add_fault(path=START, method="POST", status=504)
    lost = _start(services, key="k-1")
    assert lost.state == "uncertain" and "Idempotency-Key" in (lost.reason or "")

    assert _start(services, key="k-1").state == "uncertain"
    assert genesys.calls("POST", START) == 1

    # It was on its way all the time.
    late = genesys.state.conversations.start(_body(attributes={"crmSyncSessionId": lost.id}), at=clock.now())
    found = _start(services, key="k-1")
    assert (found.id, found.state, found.conversation_id) == (lost.id, "started", late.id)
    assert genesys.calls("POST", START) == 1


@pytest.mark.parametrize(("status", "word"), [(500, "support"), (403, "conversations:write"), (400, "40 KB")])
def test_a_refused_start_is_told_with_its_remedy(
    services: Services, genesys: PretendGenesys, status: int, word: str
) -> None:
    genesys.control.add_fault(path=START, method="POST", status=status)

    session = _start(services)

    assert session.state == "failed" and word in (session.reason or "")
    assert genesys.calls("POST", START) == 1


def test_a_repeated_key_gives_the_same_session(services: Services, genesys: PretendGenesys) -> None:
    first = _start(services, key="k-1")

    assert _start(services, key="k-1") == first
    assert len(genesys.control.conversations()) == 1
    with pytest.raises(Conflict, match="new key"):
        _start(services, key="k-1", to=[{"id": "another bot"}])
    assert _start(services, key="k-2").id != first.id


def test_of_many_requests_with_one_key_at_once_one_starts(make: Make, genesys: PretendGenesys) -> None:
    processes = [make(), make()]
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda number: _start(processes[number % 2], key="k-1"), range(8)))

    assert len({session.id for session in begun}) == 1
    assert {session.state for session in begun} <= {"starting", "started"}
    assert len(genesys.control.conversations()) == 1


def test_a_session_whose_process_died_becomes_uncertain_but_not_at_once(
    services: Services, genesys: PretendGenesys
) -> None:
    with services.database.write() as connection:
        sessions.create(
            connection, "s-1", idempotency_key="k-1", bot_id="bot-id-123", customer_id="user-456",
            media_type="chat", turns=1,
        )  # fmt: skip
    assert _start(services, key="k-1").state == "starting"

    with services.database.write() as connection:
        long_ago = (
            "'2026-01-01 00:00:00.000000+00'" if services.database.is_postgresql else "'2026-01-01 00:00:00.000000'"
        )
        connection.execute(text(f"UPDATE agent_sessions SET requested_at = {long_ago}"))
    assert _start(services, key="k-1").state == "uncertain"
    assert genesys.calls("POST", START) == 0


def test_what_is_settled_stays_settled(services: Services) -> None:
    session = _start(services)

    with services.database.write() as connection:
        late = sessions.not_started(connection, session.id, state="uncertain", reason="too late")
        assert late.state == "started"


def test_when_genesys_cannot_be_reached_the_session_fails_before_it_starts(
    migrated_url: str, free_port_url: str
) -> None:
    with process(migrated_url, free_port_url) as services:
        session = _start(services)

    assert session.state == "failed" and "cannot be reached" in (session.reason or "")


def test_without_credentials_nothing_is_started_or_remembered(make: Make) -> None:
    services = make()
    bare = Services(
        settings=services.settings.model_copy(update={"genesys": GenesysSettings()}),
        database=services.database,
        intake=services.intake,
        genesys=None,
    )
    with pytest.raises(Unavailable, match="GENESYS_CLIENT_ID"):
        _start(bare)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb"])
def test_a_key_that_cannot_be_kept_is_refused(services: Services, key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        _start(services, key=key)


def test_a_session_is_followed_to_its_closure(services: Services, genesys: PretendGenesys) -> None:
    session = _start(services)
    assert follow.show(services, session.id)["closure"] is None

    ended = genesys.control.end(session.conversation_id or "", "resolved", post=False)
    received_at = clock.now()
    context = events.Context(source="webhook", received_at=received_at, organization_id=None)
    services.intake.record(events.parse(to_json(ended), context)[0])

    closure: Any = follow.show(services, session.id)["closure"]
    assert (closure["closed"], closure["resolution"], closure["ended_at"]) == (True, "resolved", ended["endTime"])
    assert 0 <= closure["termination_latency_ms"] < 10_000
    with pytest.raises(NotFound):
        follow.show(services, "no-such-session")


def _body(**change: Any) -> dict[str, Any]:
    return {"to": [{"id": "bot-id-123"}], "from": {"id": "user-456"}, "type": "chat"} | change


def _start(
    services: Services, *, key: str | None = None, sleep: Callable[[float], None] = lambda _: None, **change: Any
) -> Session:
    request = initiate.parse(to_json(_body(**change)), services.settings)
    return initiate.start(services, request, idempotency_key=key, sleep=sleep).session


def _find(services: Services, session_id: str) -> Session | None:
    with services.database.read() as connection:
        return sessions.find(connection, session_id)


@pytest.fixture
def free_port_url() -> str:
    """The address of a port at which nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
