"""The promises of an adapter, as tests that its author inherits."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pytest

from crm_sync.adapters.contract import API_VERSION, Adapter, Deleting, Linking, Outcome, PersonHint, Receipt
from crm_sync.closure import JSON
from crm_sync.errors import Kind
from crm_sync.testing.core import make_push, push_once, settle

THREADS = 8

TEXTS: Mapping[str, str] = {
    "plain": "Order 7 arrived",
    "astral": "thanks \N{SMILING FACE WITH SUNGLASSES} \N{MATHEMATICAL FRAKTUR CAPITAL A}",
    "nul": "before\0after",
    "lone surrogate": "before\ud800after",
    "right to left": "\N{RIGHT-TO-LEFT OVERRIDE}\u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0633\u0644\u0627\u0645",
    "formula": '=HYPERLINK("http://example.invalid","x")',
    "quotes and lines": "'; DROP TABLE x; -- \"\r\n\t\\ <b>%s</b>",
    "32 kB": "\N{GREEK SMALL LETTER OMEGA}" * 16384,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One record as a reader of the target sees it; `version` is None where the target has no room for it."""

    conversation_id: str
    version: int | None
    fields: Mapping[str, JSON]


class ReadBack(Protocol):
    """Reads the target the way its users do; of an append-only target, the highest version of each conversation."""

    def __call__(self, conversation_id: str | None = None) -> list[Held]:
        """Return every record of a conversation, or of all of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Fields that the target refuses, and the name of the one that is to blame."""

    fields: Mapping[str, JSON]
    field: str


class AdapterContract:
    """Inherit it, and give the fixtures `adapter` (over an empty target) and `read_back`.

    The others are for targets that can show more: each has a default that says "not here".
    """

    @pytest.fixture
    def text_field(self) -> str:
        """The name of a field that takes any text."""
        return "wrapup_notes"

    @pytest.fixture
    def refused(self) -> Refused | None:
        """Fields that the target refuses."""
        return None

    @pytest.fixture
    def lose_answer(self) -> Callable[[], None] | None:
        """Makes the target store the next push and lose its answer."""
        return None

    @pytest.fixture
    def shuffle_answers(self) -> Callable[[], None] | None:
        """Makes the target answer the entries of the next batch in another order."""
        return None

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        """What the adapter was given and must never tell."""
        return ()

    def test_it_tells_what_it_is(self, adapter: Adapter) -> None:
        """Name, contract version, schema of the settings and capabilities are there and fit together."""
        able = adapter.capabilities

        assert adapter.api_version == API_VERSION
        assert adapter.name
        assert adapter.settings["type"] == "object"
        assert able.max_batch >= 1
        assert able.can_delete <= isinstance(adapter, Deleting)
        assert able.can_link <= isinstance(adapter, Linking)

    def test_the_same_push_twice_is_one_record(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """Repeating a push changes nothing, and its receipt does not claim a second creation."""
        push = make_push(_conversation(), 5, {text_field: "once"})

        [first] = settle(adapter, [push])
        [second] = settle(adapter, [push])

        assert first.outcome is Outcome.CREATED
        if adapter.capabilities.idempotency == "reader":
            assert second.outcome in (Outcome.CREATED, Outcome.UPDATED)
        else:
            assert second.outcome in (Outcome.UPDATED, Outcome.UNCHANGED, Outcome.SKIPPED)
        assert [held.fields[text_field] for held in read_back(push.conversation_id)] == ["once"]

    def test_eight_threads_with_one_new_key_make_one_record(
        self, adapter: Adapter, read_back: ReadBack, text_field: str
    ) -> None:
        """A race of creators leaves one record; more only where the capabilities say so."""
        push = make_push(_conversation(), 5, {text_field: "raced"})

        receipts = _at_once(lambda: settle(adapter, [push]))

        held = read_back(push.conversation_id)
        assert [receipt.fault for receipt in receipts] == [None] * THREADS
        if adapter.capabilities.idempotency == "none":
            assert 1 <= len(held) <= THREADS
        else:
            assert len(held) == 1
        assert {record.fields[text_field] for record in held} == {"raced"}

    def test_receipts_stand_in_the_order_of_their_entries(
        self,
        adapter: Adapter,
        read_back: ReadBack,
        text_field: str,
        shuffle_answers: Callable[[], None] | None,
    ) -> None:
        """One receipt per entry, in their order, also when the target answers in another."""
        size = min(adapter.capabilities.max_batch, 10)
        pushes = [make_push(_conversation(), 5, {text_field: f"number {number}"}) for number in range(size)]
        if shuffle_answers:
            shuffle_answers()

        receipts = push_once(adapter, [adapter.prepare(push) for push in pushes])

        assert [receipt.push_key for receipt in receipts] == [push.push_key for push in pushes]
        assert {receipt.outcome for receipt in receipts} == {Outcome.CREATED}
        for push in pushes:
            assert [held.fields[text_field] for held in read_back(push.conversation_id)] == [push.fields[text_field]]

    def test_one_refused_record_costs_only_itself(
        self, adapter: Adapter, read_back: ReadBack, text_field: str, refused: Refused | None
    ) -> None:
        """Of a hundred records with a bad one, 99 are stored, and the bad one is refused with its field."""
        if refused is None:
            pytest.skip("this target refuses no record")
        pushes = [make_push(_conversation(), 5, {text_field: "good"}) for _ in range(99)]
        bad = make_push(_conversation(), 5, dict(refused.fields))
        pushes.insert(40, bad)

        receipts = settle(adapter, pushes)

        failed = [receipt for receipt in receipts if receipt.fault is not None]
        assert [receipt.push_key for receipt in failed] == [bad.push_key]
        assert [(receipt.fault.kind, receipt.fault.field) for receipt in failed if receipt.fault] == [
            (Kind.DATA, refused.field)
        ]
        assert read_back(bad.conversation_id) == []
        assert len(read_back()) == 99

    def test_a_newer_version_replaces_an_older_one(
        self, adapter: Adapter, read_back: ReadBack, text_field: str
    ) -> None:
        """What the core sends in its order is what stands in the end."""
        conversation_id = _conversation()

        settle(adapter, [make_push(conversation_id, 5, {text_field: "old"})])
        settle(adapter, [make_push(conversation_id, 6, {text_field: "new"})])

        assert [held.fields[text_field] for held in read_back(conversation_id)] == ["new"]

    def test_null_empties_a_field(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """What is no longer so must not go on standing in the CRM."""
        conversation_id = _conversation()

        settle(adapter, [make_push(conversation_id, 5, {text_field: "was so"})])
        settle(adapter, [make_push(conversation_id, 6, {text_field: None})])

        assert [held.fields.get(text_field) for held in read_back(conversation_id)] == [None]

    def test_an_older_version_never_wins(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """A late push of an old version changes nothing, where the target can compare; its debt is paid."""
        able = adapter.capabilities
        conversation_id = _conversation()
        settle(adapter, [make_push(conversation_id, 6, {text_field: "new"})])

        [late] = settle(adapter, [make_push(conversation_id, 5, {text_field: "old"})])

        held = [record.fields[text_field] for record in read_back(conversation_id)]
        if able.optimistic_lock:
            assert late.outcome is Outcome.SKIPPED
        if able.optimistic_lock or able.idempotency == "reader":
            assert held == ["new"]
        else:
            # The target cannot compare, so only the core's order protects it; it must at least not be doubled.
            assert held in (["new"], ["old"])

    def test_a_lost_answer_leaves_one_record(
        self, adapter: Adapter, read_back: ReadBack, text_field: str, lose_answer: Callable[[], None] | None
    ) -> None:
        """The target stores, the answer is lost, the push is repeated: one record, and it is told as uncertain."""
        if lose_answer is None:
            pytest.skip("this target has no answer that could be lost")
        push = make_push(_conversation(), 5, {text_field: "once"})
        lose_answer()

        [lost] = push_once(adapter, [adapter.prepare(push)])
        [found] = settle(adapter, [push])

        assert lost.fault is not None and lost.fault.kind in (Kind.AMBIGUOUS, Kind.RETRYABLE)
        assert found.fault is None
        assert [held.fields[text_field] for held in read_back(push.conversation_id)] == ["once"]

    @pytest.mark.parametrize("kind", TEXTS)
    def test_text_arrives_as_it_was(self, adapter: Adapter, read_back: ReadBack, text_field: str, kind: str) -> None:
        """Any text is stored unchanged, but for NUL and lone surrogates, which may become U+FFFD."""
        push = make_push(_conversation(), 5, {text_field: TEXTS[kind]})

        [receipt] = settle(adapter, [push])

        [held] = read_back(push.conversation_id)
        stored = held.fields[text_field]
        mended = TEXTS[kind].replace("\0", "\ufffd").replace("\ud800", "\ufffd")
        assert receipt.fault is None
        assert stored in (TEXTS[kind], mended)

    def test_the_version_travels_along(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """A reader can tell which state arrived, where the target has room for it."""
        push = make_push(_conversation(), 1_705_314_852_250, {text_field: "told"})

        settle(adapter, [push])

        assert [held.version for held in read_back(push.conversation_id)] in ([push.version], [None])

    def test_prepare_is_pure(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """The same push gives the same record and the same words, and the target hears nothing of it."""
        push = make_push(_conversation(), 5, {text_field: "seen before it is sent"})

        first, second = adapter.prepare(push), adapter.prepare(push)

        assert first == second
        assert (first.push_key, first.conversation_id) == (push.push_key, push.conversation_id)
        assert adapter.render([first]) == adapter.render([second])
        assert "seen before it is sent" in adapter.render([first])
        assert read_back() == []

    def test_check_writes_nothing(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """A check of a target in good order finds nothing fatal, and leaves it as it is."""
        settle(adapter, [make_push(_conversation(), 5, {text_field: "here before"})])
        before = read_back()

        findings = adapter.check()

        assert [finding for finding in findings if finding.is_fatal] == []
        assert read_back() == before

    def test_an_unknown_person_is_nobody(self, adapter: Adapter) -> None:
        """Looking for somebody who is not there finds nobody, and is no error."""
        hint = PersonHint(email="nobody@example.invalid", phone="+15550100999", external_id="nobody")

        assert adapter.find_person(hint) == []

    def test_what_is_deleted_is_gone(self, adapter: Adapter, read_back: ReadBack, text_field: str) -> None:
        """Deleting twice is harmless, where the capabilities promise to delete."""
        push = make_push(_conversation(), 5, {text_field: "to be forgotten"})
        [receipt] = settle(adapter, [push])

        if isinstance(adapter, Deleting) and adapter.capabilities.can_delete:
            adapter.delete(str(receipt.record_id))
            adapter.delete(str(receipt.record_id))

        assert len(read_back(push.conversation_id)) == (0 if adapter.capabilities.can_delete else 1)

    def test_no_secret_is_told(
        self,
        adapter: Adapter,
        text_field: str,
        secrets: Sequence[str],
        lose_answer: Callable[[], None] | None,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """No secret stands in a representation, a preview, a finding, a receipt, a fault or a log line."""
        prepared = adapter.prepare(make_push(_conversation(), 5, {text_field: "words of a customer"}))
        with caplog.at_level(logging.DEBUG):
            told = [repr(adapter), str(adapter), repr(adapter.check()), repr(push_once(adapter, [prepared]))]
            if lose_answer:
                lose_answer()
                told.append(repr(push_once(adapter, [prepared])))
        logged = caplog.text + "".join(capfd.readouterr())

        for secret in secrets:
            assert secret not in "".join([*told, adapter.render([prepared]), repr(prepared), logged])
        assert "words of a customer" not in "".join([*told, repr(prepared), logged])

    def test_closing_twice_is_harmless(self, adapter: Adapter, text_field: str) -> None:
        """Closing may be repeated."""
        settle(adapter, [make_push(_conversation(), 5, {text_field: "the last one"})])

        adapter.close()
        adapter.close()


def _conversation() -> str:
    return str(uuid.uuid4())


def _at_once(work: Callable[[], Sequence[Receipt]]) -> list[Receipt]:
    barrier = threading.Barrier(THREADS)
    receipts: list[Receipt] = []

    def run() -> None:
        barrier.wait()
        receipts.extend(work())

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return receipts
