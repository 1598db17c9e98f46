"""A file of JSON lines: every push is appended, and a reader keeps the highest version of each conversation."""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

from pydantic import PositiveInt

from crm_sync.adapters.contract import (
    API_VERSION,
    Capabilities,
    Finding,
    MappedField,
    Match,
    Outcome,
    PersonHint,
    Prepared,
    Push,
    Receipt,
)
from crm_sync.adapters.values import Options, clean_record, parse, to_json
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, failure


class JSONLOptions(Options):
    """The settings of the adapter `jsonl`. Without `fsync` a power cut can take acknowledged lines with it."""

    path: Path
    fsync: bool = True
    max_batch: PositiveInt = 500


class JSONLAdapter:
    """Appends to one file, which may be rotated under it: the file is opened anew for each batch.

    A batch is one write under a lock, so lines of several processes on one machine never mix. What a crash has cut
    short stands on a line of its own that does not parse, and is sent again.
    """

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str] = "jsonl"
    settings: ClassVar[Mapping[str, JSON]] = JSONLOptions.model_json_schema()

    def __init__(self, options: JSONLOptions) -> None:
        self._options = options
        self.capabilities = Capabilities(
            native_upsert=False,
            optimistic_lock=False,
            idempotency="reader",
            max_batch=options.max_batch,
            batch_atomic=False,
            ordered_per_key=True,
            dry_run="local",
        )

    @classmethod
    def from_options(
        cls, options: Mapping[str, JSON], *, fields: Sequence[MappedField], worker_deadline_seconds: float
    ) -> Self:
        """Return the adapter; the file need not exist."""
        return cls(parse(JSONLOptions, options))

    def check(self) -> list[Finding]:
        """Return whether the file could be appended to."""
        path = self._options.path
        where = path if path.exists() else path.parent
        if os.access(where, os.W_OK):
            return []
        what = "is not writable" if where.exists() else "does not exist"
        remedy = "create the folder, or let the worker's user write there"
        return [Finding(what=f"{where.name or where} {what}", where="path", remedy=remedy, is_fatal=True)]

    def find_person(self, hint: PersonHint) -> list[Match]:
        """Return nobody: a file knows no persons."""
        return []

    def prepare(self, push: Push) -> Prepared:
        """Return what becomes one line."""
        return Prepared(
            conversation_id=push.conversation_id,
            push_key=push.push_key,
            version=push.version,
            record={
                "conversation_id": push.conversation_id,
                "version": push.version,
                "push_key": push.push_key,
                "fields": clean_record(push.due_fields),
            },
            known_id=push.known_id,
        )

    def render(self, batch: Sequence[Prepared]) -> str:
        """Return the lines."""
        return "".join(f"{to_json(entry.record)}\n" for entry in batch)

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Append the lines; all of them are in the file when this returns, none when it raises RETRYABLE."""
        self._append(self.render(batch).encode())
        return [
            Receipt(
                push_key=entry.push_key,
                outcome=Outcome.UPDATED if entry.known_id else Outcome.CREATED,
                record_id=entry.conversation_id,
            )
            for entry in batch
        ]

    def close(self) -> None:
        """Do nothing: no file stays open between batches."""

    def _append(self, lines: bytes) -> None:
        try:
            with _opened(self._options.path) as (file, size):
                _write(file, size, lines)
                if self._options.fsync:
                    _sync(file)
        except OSError as error:
            raise _failure_of(error) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Open the file for appending, locked against other writers; gives the descriptor and the size."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file, os.fstat(file).st_size
    finally:
        os.close(file)


def _write(file: int, size: int, lines: bytes) -> None:
    """Append all or nothing, on a line of our own also when the last writer died within its line."""
    if size and os.pread(file, 1, size - 1) != b"\n":
        lines = b"\n" + lines
    written = os.write(file, lines)
    if written != len(lines):
        # Where even this fails, the half line is one that does not parse.
        with suppress(OSError):
            os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, "short write")


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        # The lines are in the file, and nobody can say whether they are on the disk.
        message = "The lines were written, and the disk did not confirm them."
        raise failure(Fault(kind=Kind.AMBIGUOUS, code="fsync_failed", message=message)) from error


def _failure_of(error: OSError) -> AdapterFailure:
    code = errno.errorcode.get(error.errno or 0, "EIO")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS):
        message = "The file cannot be opened for appending; see its folder and its rights."
        return failure(Fault(kind=Kind.CONFIG, code=code, message=message))
    return failure(Fault(kind=Kind.RETRYABLE, code=code, message="The file could not be appended to."))
