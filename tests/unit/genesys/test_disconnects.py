"""One enumeration of disconnect types, which the platform spells in four ways."""

import pytest

from crm_sync.genesys.details import disconnect_word
from tests.unit.genesys.builders import closed_by, detail

SAME_EVERYWHERE = (
    "client", "endpoint", "peer", "system", "timeout", "error", "other", "spam", "uncallable", "inactivity",
    "takeover", "transfer",
)  # fmt: skip
# ours, events, conversation object, conversation notification, analytics
SPELLED = (
    ("conference_transfer", "CONFERENCE_TRANSFER", "transfer.conference", "transfer.conference", "conferenceTransfer"),
    ("consult_transfer", "CONSULT_TRANSFER", "transfer.consult", "transfer.consult", "consultTransfer"),
    ("forward_transfer", "FORWARD_TRANSFER", "transfer.forward", "transfer.forward", "forwardTransfer"),
    ("no_answer_transfer", "NO_ANSWER_TRANSFER", "transfer.noanswer", "transfer.noanswer", "noAnswerTransfer"),
    ("not_available_transfer", "NOT_AVAILABLE_TRANSFER", "transfer.notavailable", "transfer.notavailable",
     "notAvailableTransfer"),
    ("dnd_transfer", "DND_TRANSFER", "transfer.donotdisturb", "transfer.dnd", "dndTransfer"),
    ("dnd_endpoint", "DND_ENDPOINT", "endpoint.donotdisturb", "endpoint.dnd", "dndEndpoint"),
    ("transport_failure", "TRANSPORT_FAILURE", "transport.failure", "transport.failure", "transportFailure"),
    ("session_expired", "SESSION_EXPIRED", "session.expired", "session.expired", "sessionExpired"),
)  # fmt: skip
TRANSFERS = ("TRANSFER", "TAKEOVER", *(row[1] for row in SPELLED if row[0].endswith("_transfer")))


@pytest.mark.parametrize("ours", SAME_EVERYWHERE)
def test_a_plain_word_is_the_same_in_every_notation(ours: str) -> None:
    assert {disconnect_word(raw) for raw in (ours, ours.upper(), ours.capitalize())} == {ours}


@pytest.mark.parametrize("row", SPELLED, ids=lambda row: row[0])
def test_all_four_spellings_of_a_disconnect_give_our_one(row: tuple[str, ...]) -> None:
    assert {disconnect_word(raw) for raw in row} == {row[0]}


@pytest.mark.parametrize("raw", ["UNKNOWN", "BRAND_NEW", "", "...", "transfer.brandnew", "client.endpoint", "ÄÖ", "1"])
def test_a_new_word_is_unknown(raw: str) -> None:
    assert disconnect_word(raw) == "unknown"


@pytest.mark.parametrize("raw", TRANSFERS)
def test_a_customer_who_is_handed_on_has_not_ended_the_conversation(raw: str) -> None:
    closure = closed_by(detail("customer.end", disconnectType=raw))

    assert (closure.closed, closure.ended_at, closure.disconnect_type) == (False, None, None)


ENDINGS = sorted(({row[1] for row in SPELLED} | {word.upper() for word in SAME_EVERYWHERE}) - set(TRANSFERS))


@pytest.mark.parametrize("raw", [*ENDINGS, "UNKNOWN", "BRAND_NEW", None])
def test_every_other_disconnect_of_the_customer_ends_it_known_or_not(raw: str | None) -> None:
    closure = closed_by(detail("customer.end", disconnectType=raw))

    assert closure.closed
    assert closure.disconnect_type == (None if raw is None else disconnect_word(raw))
