"""The file of JSON lines: what a line holds, and what is left after a crash, a full disk or a rotation."""

import fcntl
import json
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from crm_sync.adapters.contract import Outcome
from crm_sync.adapters.jsonl import JSONLAdapter
from crm_sync.errors import AdapterFailure, Kind
from crm_sync.testing.core import make_push, settle


def adapter_for(path: Path, **options: Any) -> JSONLAdapter:
    return JSONLAdapter.from_options({"path": str(path), **options}, fields=(), worker_deadline_seconds=20)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("fsync", [True, False])
def test_a_line_says_which_state_of_which_conversation_it_holds(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "closures.jsonl"
    push = make_push("c-1", 7, {"Subject": "line\nbreak"})

    [receipt] = settle(adapter_for(path, fsync=fsync), [push])

    assert (receipt.outcome, receipt.record_id) == (Outcome.CREATED, "c-1")
    assert lines(path) == [
        {"conversation_id": "c-1", "version": 7, "push_key": push.push_key, "fields": {"Subject": "line\nbreak"}}
    ]


def test_a_known_record_is_updated(tmp_path: Path) -> None:
    [receipt] = settle(adapter_for(tmp_path / "x"), [make_push("c-1", 8, {}, known_id="c-1")])

    assert receipt.outcome is Outcome.UPDATED


def test_half_a_line_of_a_crash_stays_apart(tmp_path: Path) -> None:
    path = tmp_path / "closures.jsonl"
    path.write_text('{"conversation_id": "c-0", "vers')

    settle(adapter_for(path), [make_push("c-1", 1, {})])

    first, second = path.read_text().splitlines()
    assert first == '{"conversation_id": "c-0", "vers'
    assert json.loads(second)["conversation_id"] == "c-1"


def test_a_full_disk_leaves_no_half_line_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "closures.jsonl"
    adapter = adapter_for(path)
    settle(adapter, [make_push("c-1", 1, {})])
    before = path.read_bytes()

    with files_no_longer_than(len(before) + 10), pytest.raises(AdapterFailure) as caught:
        adapter.push([adapter.prepare(make_push("c-2", 1, {}))])

    assert caught.value.fault.kind is Kind.RETRYABLE
    assert path.read_bytes() == before
    settle(adapter, [make_push("c-2", 1, {})])
    assert len(lines(path)) == 2


def test_a_file_rotated_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "closures.jsonl"
    adapter = adapter_for(path)
    settle(adapter, [make_push("c-1", 1, {})])
    path.rename(tmp_path / "closures.jsonl.1")

    settle(adapter, [make_push("c-2", 1, {})])

    assert [line["conversation_id"] for line in lines(path)] == ["c-2"]


def test_a_missing_folder_is_a_matter_of_settings(tmp_path: Path) -> None:
    adapter = adapter_for(tmp_path / "nowhere" / "closures.jsonl")

    with pytest.raises(AdapterFailure) as caught:
        adapter.push([adapter.prepare(make_push("c-1", 1, {}))])

    assert (caught.value.fault.kind, caught.value.fault.code) == (Kind.CONFIG, "ENOENT")
    [finding] = adapter.check()
    assert finding.is_fatal
    assert finding.what == "nowhere does not exist"


def test_a_writer_waits_for_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "closures.jsonl"
    writer = threading.Thread(target=settle, args=(adapter_for(path), [make_push("c-1", 1, {})]))
    with path.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer.start()
        writer.join(timeout=0.2)
        assert path.read_text() == ""
    writer.join()

    assert len(lines(path)) == 1


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "closures.jsonl"
    spawn = get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert sorted(line["version"] for line in lines(path) if line["conversation_id"] == "a") == list(range(100))
    assert len(lines(path)) == 200


def write_many(path: Path, name: str) -> None:
    """Write a hundred long lines, ten at a time."""
    adapter = adapter_for(path, fsync=False, max_batch=10)
    settle(adapter, [make_push(name, version, {"Text": name * 9000}) for version in range(100)])
