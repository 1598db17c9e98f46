"""The five sample events of one conversation, in every shape, order and repetition: always the same closure."""

from datetime import UTC, datetime, timedelta
from itertools import chain, cycle, permutations
from typing import Any

import pytest

from tests.acceptance.harness import World, ask, webhook_target
from tests.acceptance.sender import EVENTS, KINDS, PROOFS, SHAPES, TUTORIAL, Sender, event

CONVERSATION = "2f7bf00a-0fc2-4d6a-9b56-92238191433e"
WRAPUP_CODE = "f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21"
ENDED_AT = "2022-04-06T09:31:44.949Z"
TOGETHER = {
    "conversation_id": CONVERSATION,
    "closed": True,
    "ended_at": ENDED_AT,
    "customer_left_at": ENDED_AT,
    "resolution": "unknown",
    "resolution_final": False,
    "awaiting_until": "2022-04-06T09:41:44.949Z",
    "media_type": "message",
    "message_type": "open",
    "direction": "inbound",
    "provider": "PureCloud Messaging",
    "disconnect_type": "client",
    "customer_address": "customer-42",
    "our_address": "open-integration-id",
    "wrapup_code": WRAPUP_CODE,
    "wrapup_notes": "refund issued",
    "agent_took_part": True,
    "talk_ms": 48_000,
    "held_ms": 0,
    "acw_ms": 20_000,
    "agent_ids": ["5f6fe78e-dfbb-400f-a70b-d9b5c8340fdc"],
    "queue_ids": ["67ce2258-ff62-4f8e-8467-2d79c9b98e2b"],
    "flow_ids": ["12aeeeff-c0af-4f8b-b647-7a350630419f"],
    "division_ids": ["a85d0cf7-0afb-4561-adfd-9289c07cd51f"],
    "external_contact_ids": ["12456349-b5c7-4d8f-9eb4-f4df18bce9a9"],
    "external_organization_ids": [],
    "attributes": {},
    "text_altered": False,
}
"""What the five events say together, in the words of the read API."""

CHANGING = {"version", "created_at", "updated_at"}


def closure_of(world: World, token: str, conversation_id: str = CONVERSATION) -> dict[str, Any]:
    answer = ask(f"{world.web_url}/api/v1/closures/{conversation_id}", token=token)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def row_of(world: World) -> dict[str, Any]:
    (row,) = world.rows("SELECT * FROM closures")
    return {name: value for name, value in row.items() if name not in CHANGING}


def expects(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert {name: found[name] for name in wanted} == wanted


def test_the_five_files_as_they_are_give_the_closure_that_they_describe(shared: World, sender: Sender) -> None:
    names = ("flow.outcome", "customer.end", "customer.end.eventbridge", "user.end", "wrapup")
    bodies = [(EVENTS / f"{name}.json").read_bytes() for name in names]
    statuses = [sender.status(body) for body in [*bodies, *bodies]]

    told = closure_of(shared, shared.token("reader"))
    assert statuses == ["accepted", "accepted", "duplicate", "accepted", "accepted", *["duplicate"] * 5]
    expects(told["closure"], TOGETHER)
    assert [e["kind"] for e in told["events"]] == ["flow.outcome", "customer.end", "user.end", "wrapup"]
    assert [(d["target"], d["state"]) for d in told["deliveries"]] == [("crm", "pending")]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_proof_of_origin_is_accepted_in_every_shape(sender: Sender, shape: str) -> None:
    for number, proof in enumerate(PROOFS):
        bare = event("customer.end", conversationId=f"{CONVERSATION}-{number}")

        assert sender.status(SHAPES[shape]("customer.end", bare), proof) == "accepted"
        assert sender.status(SHAPES[shape]("customer.end", bare), proof) == "duplicate"


def test_all_events_in_one_array_are_answered_one_by_one_and_give_the_same_closure(
    shared: World, sender: Sender
) -> None:
    for kind in KINDS:
        sender.status(event(kind))
    one_by_one = row_of(shared)
    shared.forget()
    shapes = cycle(SHAPES[name] for name in ("enveloped", "flat", "detail", "bare"))

    answer = sender.post([shape(kind, event(kind)) for kind, shape in zip((*KINDS, *KINDS), shapes, strict=False)])

    assert [told["status"] for told in answer.json()["results"]] == ["accepted"] * 4 + ["duplicate"] * 4
    assert row_of(shared) == one_by_one


def test_before_the_customer_has_left_nothing_is_owed(shared: World, sender: Sender) -> None:
    for kind in ("flow.outcome", "user.end", "wrapup"):
        assert sender.status(event(kind)) == "accepted"
    before = closure_of(shared, token := shared.token("reader"))
    sender.status(event("customer.end"))
    after = closure_of(shared, token)

    expects(before["closure"], {"closed": False, "ended_at": None, "wrapup_code": WRAPUP_CODE, "talk_ms": 48_000})
    assert before["deliveries"] == []
    expects(after["closure"], TOGETHER)
    assert [delivery["desired_version"] for delivery in after["deliveries"]] == [after["closure"]["version"]]


def test_a_bot_that_succeeds_has_resolved_it_until_an_agent_takes_part(shared: World, sender: Sender) -> None:
    token = shared.token("reader")
    sender.status(event("flow.outcome"))
    sender.status(event("customer.end"))
    alone = closure_of(shared, token)["closure"]
    sender.status(event("user.end"))
    together = closure_of(shared, token)["closure"]

    expects(alone, {"closed": True, "resolution": "resolved", "resolution_final": False, "agent_took_part": False})
    expects(together, {"closed": True, "resolution": "unknown", "resolution_final": False, "agent_took_part": True})
    assert together["version"] > alone["version"]


def test_a_reopened_conversation_is_open_until_it_ends_again(shared: World, sender: Sender) -> None:
    token = shared.token("reader")
    ended = event("customer.end")
    start = {name: ended[name] for name in ("conversationId", "participantId", "sessionId", "mediaType", "provider")}
    again = start | {"topicName": f"v2.detail.events.conversation.{CONVERSATION}.customer.start"}
    sender.status(ended)
    assert sender.status(again | {"eventTime": ended["eventTime"] + 60_000}) == "accepted"
    reopened = closure_of(shared, token)
    sender.status(ended | {"eventTime": ended["eventTime"] + 120_000})
    closed = closure_of(shared, token)

    expects(reopened["closure"], {"closed": False, "ended_at": ENDED_AT})
    assert [d["desired_version"] for d in reopened["deliveries"]] == [reopened["closure"]["version"]]
    expects(closed["closure"], {"closed": True, "ended_at": "2022-04-06T09:33:44.949Z"})


@pytest.mark.parametrize("wrapper", [None, "conversation", "data", "eventBody"])
def test_the_tutorials_conversation_is_understood_bare_and_wrapped(
    shared: World, sender: Sender, wrapper: str | None
) -> None:
    wrapped = TUTORIAL if wrapper is None else {"event": "conversation:ended", wrapper: TUTORIAL}

    assert sender.status(wrapped) == "accepted"
    assert sender.status(TUTORIAL) == "duplicate"
    expects(
        closure_of(shared, shared.token("reader"), TUTORIAL["id"])["closure"],
        {
            "closed": True,
            "started_at": "2024-01-15T10:30:00.000Z",
            "ended_at": "2024-01-15T10:34:12.250Z",
            "duration_ms": 252_250,
            "resolution": "resolved",
            "resolution_source": "payload",
            "resolution_final": True,
            "media_type": "chat",
            "customer_id": "user-456",
            "bot_ids": ["bot-id-123"],
            "queue_ids": ["human-support-queue"],
            "attributes": {"order_id": "ORD-998877"},
        },
    )


def test_a_tutorial_conversation_that_is_not_closed_ends_nothing(shared: World, sender: Sender) -> None:
    unfinished = [TUTORIAL | {"state": "active"}, {name: v for name, v in TUTORIAL.items() if name != "endTime"}]

    assert [sender.status(body) for body in unfinished] == ["accepted", "accepted"]
    assert shared.rows("SELECT closed FROM closures") == [{"closed": 0}]
    assert shared.counts()["deliveries"] == 0


def test_a_wrapup_code_that_the_settings_explain_is_the_final_resolution(world: World) -> None:
    world.settings = f'[resolution.wrapup_codes]\n"{WRAPUP_CODE}" = "resolved"\n'
    with Sender(world.web().url) as sender:
        for kind in KINDS:
            sender.status(event(kind))

    wanted = {"resolution": "resolved", "resolution_source": "wrapup_code", "resolution_reason": WRAPUP_CODE,
              "resolution_final": True, "awaiting_until": None, "closed": True}  # fmt: skip
    expects(closure_of(world, world.token("reader"))["closure"], wanted)


def test_no_order_shape_or_repetition_changes_a_row_on_either_engine(worlds: tuple[World, World]) -> None:
    rows = []
    for world in worlds:
        world.settings = webhook_target("http://127.0.0.1:9")
        shapes, proofs = cycle(SHAPES), cycle(PROOFS)
        with Sender(world.web().url) as sender:
            for order in permutations(KINDS):
                for kind in chain(order, reversed(order)):
                    sender.status(SHAPES[next(shapes)](kind, event(kind)), next(proofs))
                rows.append(row_of(world))
                world.forget()

    assert len(rows) == 2 * 24
    assert all(row == rows[0] for row in rows), [row for row in rows if row != rows[0]][:1]
    ended_at = datetime(2022, 4, 6, 9, 31, 44, 949_000, tzinfo=UTC)
    expects(rows[0], {"closed": 1, "ended_at": ended_at, "awaiting_until": ended_at + timedelta(minutes=10)})
