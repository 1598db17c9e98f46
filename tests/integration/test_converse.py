"""Sessions that a bot leads turn by turn: what it answers, when people take over, and turns that get lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from crm_sync import converse
from crm_sync.converse import Said
from crm_sync.errors import BadRequest, Conflict, NotFound
from crm_sync.services import Services
from crm_sync.store import turns
from tests.integration.bots import CALLBACKS, LIVE, NUMBER, TURNS, Make, limits, start
from tests.integration.pretend import PretendGenesys, process


@pytest.fixture
def make(migrated_url: str, genesys: PretendGenesys) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **change: stack.enter_context(
            process(migrated_url, genesys.url, registration="none", sessions=limits(**change))
        )


@pytest.fixture
def services(make: Make) -> Services:
    return make()


def test_the_bot_answers_each_turn_and_resolves_the_session_in_its_last(
    services: Services, genesys: PretendGenesys
) -> None:
    session = start(services).session

    asked = _say(services, session.id, "Where is my parcel?")
    assert (asked.next_action, asked.session.bot_state, asked.session.turns) == ("WaitForInput", "waiting", 2)
    assert asked.prompts == ("Let me see. What else should I know?",)

    last = _say(services, session.id, "Thanks, bye")
    assert (last.next_action, last.prompts) == ("Exit", ("Goodbye!",))
    ended = last.session
    assert (ended.bot_state, ended.end_reason, ended.resolution) == ("over", "TriggeredByFlow", "resolved")
    assert ended.ended_at is not None and ended.handover is None and ended.conversation_id is None
    with pytest.raises(Conflict, match="finished"):
        _say(services, session.id, "one more thing")
    assert len(genesys.control.bot_sessions()[0]["turns"]) == 3


@pytest.mark.parametrize(
    ("words", "reason"), [("a human!", "AgentRequestedByUser"), ("gibberish", "RecognitionFailure"), ("crash", "Error")]
)
def test_a_bot_that_gives_up_leaves_the_customer_to_people(
    services: Services, genesys: PretendGenesys, words: str, reason: str
) -> None:
    session = start(services, callback_number=NUMBER, attributes={"order": "ORD-998877"}).session

    said = _say(services, session.id, words)

    (callback,) = genesys.control.callbacks()["callbacks"]
    handed = said.session
    assert said.error is None and said.next_action == "Exit"
    assert (handed.escalated, handed.conversation_id) == (True, callback["conversationId"])
    assert (handed.end_reason, handed.resolution) == (reason, "escalated")
    assert callback["asked"]["data"]["escalation_reason"] == f"the bot ended with {reason}"
    assert callback["asked"]["data"]["order"] == "ORD-998877"


def test_beyond_the_turns_people_take_over_without_the_bot(make: Make, genesys: PretendGenesys) -> None:
    services = make(max_turns=2)
    session = start(services, message="Where is my parcel?", **LIVE).session
    assert _say(services, session.id, "parcel").session.bot_state == "waiting"

    said = _say(services, session.id, "parcel, I said")

    assert said.session.escalated and "3 turns are more than 2" in (said.session.reason or "")
    assert len(genesys.control.callbacks()["transfers"]) == 1
    assert len(genesys.control.bot_sessions()[0]["turns"]) == 3


def test_when_people_cannot_be_reached_the_session_is_over_and_it_is_told(services: Services) -> None:
    session = start(services).session

    said = _say(services, session.id, "gibberish")

    assert said.error is not None and "callback_number" in said.error and "RecognitionFailure" in said.error
    assert (said.session.bot_state, said.session.resolution, said.session.escalated) == ("over", "unresolved", False)


def test_a_turn_whose_answer_was_lost_is_told_and_not_repeated_by_itself(
    services: Services, genesys: PretendGenesys
) -> None:
    session = start(services, callback_number=NUMBER).session
    genesys.control.add_fault(path=TURNS, lose_answer=True)

    lost = _say(services, session.id, "Where is my parcel?")
    assert lost.error is not None and "not known" in lost.error
    assert (lost.session.bot_state, lost.session.turns) == ("lost", 1)
    assert len(genesys.control.bot_sessions()[0]["turns"]) == 2

    # The bot did hear it, so that nobody knows its last turn, and it would not take another one.
    again = _say(services, session.id, "Where is my parcel?")
    assert again.error is None and again.session.escalated
    assert again.session.reason == "the bot has left the session"
    assert len(genesys.control.bot_sessions()[0]["turns"]) == 2


def test_a_turn_that_never_arrived_can_be_taken_once_more(services: Services, genesys: PretendGenesys) -> None:
    session = start(services).session
    genesys.control.add_fault(path=TURNS, status=504)
    assert _say(services, session.id, "Where is my parcel?").session.bot_state == "lost"

    assert _say(services, session.id, "Where is my parcel?").session.bot_state == "waiting"


def test_a_refused_turn_leaves_the_session_as_it_was(services: Services, genesys: PretendGenesys) -> None:
    session = start(services).session
    genesys.control.add_fault(path=TURNS, status=400)

    refused = _say(services, session.id, "hello")
    assert refused.fault is not None and (refused.session.bot_state, refused.session.turns) == ("waiting", 1)
    assert _say(services, session.id, "hello").error is None


def test_people_who_were_not_reached_are_asked_again_with_the_next_turn(
    services: Services, genesys: PretendGenesys
) -> None:
    session = start(services, callback_number=NUMBER).session
    genesys.control.add_fault(path=CALLBACKS, status=403)

    failed = _say(services, session.id, "a human!")
    assert failed.error is not None and failed.session.bot_state == "people"

    assert _say(services, session.id, "anybody?").session.escalated
    assert len(genesys.control.callbacks()["callbacks"]) == 1
    assert len(genesys.control.bot_sessions()[0]["turns"]) == 2


def test_a_callback_whose_answer_was_lost_is_not_asked_for_twice(services: Services, genesys: PretendGenesys) -> None:
    session = start(services, callback_number=NUMBER).session
    genesys.control.add_fault(path=CALLBACKS, lose_answer=True)

    lost = _say(services, session.id, "a human!")

    assert lost.error is not None and "crmSyncSessionId" in lost.error
    assert (lost.session.bot_state, lost.session.escalated, lost.session.conversation_id) == ("over", True, None)
    with pytest.raises(Conflict):
        _say(services, session.id, "anybody?")
    assert len(genesys.control.callbacks()["callbacks"]) == 1


def test_of_turns_at_the_same_time_one_is_taken_after_the_other(make: Make, genesys: PretendGenesys) -> None:
    processes = [make() for _ in range(2)]
    session = start(processes[0]).session

    def attempt(number: int) -> bool:
        try:
            return _say(processes[number % 2], session.id, "parcel").error is None
        except Conflict:
            return False

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(attempt, range(4)))

    assert any(taken)
    assert len(genesys.control.bot_sessions()[0]["turns"]) == 1 + sum(taken)


def test_while_a_turn_is_taken_another_one_is_refused_and_an_abandoned_one_may_be_claimed(services: Services) -> None:
    session = start(services).session
    claimed = services.database.writing(lambda connection: turns.claim(connection, session.id))
    assert claimed is not None
    with pytest.raises(Conflict, match="Another turn"):
        _say(services, session.id, "hello")

    zone = "+00" if services.database.is_postgresql else ""
    with services.database.write() as connection:
        connection.execute(text(f"UPDATE agent_sessions SET turn_at = '2026-01-01 00:00:00.000000{zone}'"))
    assert _say(services, session.id, "hello").session.turns == 2

    def settle_late() -> str | None:
        return services.database.writing(
            lambda connection: turns.answered(connection, claimed, turn_id="late", turns=9)
        ).turn_id

    assert settle_late() != "late"


def test_what_cannot_be_said_is_refused(services: Services) -> None:
    session = start(services).session

    for words in ("", "  ", "x" * 10_001, "a\0b", "a\udcffb"):
        with pytest.raises(BadRequest):
            _say(services, session.id, words)
    with pytest.raises(NotFound):
        _say(services, "no-such-session", "hello")


def test_a_conversation_that_no_bot_leads_turn_by_turn_hears_nothing(services: Services) -> None:
    people = start(services, turns=11, callback_number=NUMBER).session

    with pytest.raises(Conflict, match="No bot leads"):
        _say(services, people.id, "hello")


def _say(services: Services, session_id: str, words: str) -> Said:
    return converse.say(services, session_id, words, sleep=lambda _: None)
