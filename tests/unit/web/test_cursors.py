"""Cursors: read back as they were written, and never from anybody else."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from crm_sync.errors import BadRequest
from crm_sync.store.reads import Position
from crm_sync.web import cursors

OLD, NEW = SecretStr("the old secret, which is long"), SecretStr("the new secret, which is long")
POSITION = Position(at=datetime(2024, 1, 15, 12, 0, 0, 123456, tzinfo=UTC), conversation_id="c1")

positions = st.builds(
    Position,
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
    conversation_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)


@given(positions, st.text())
def test_a_cursor_is_read_back_to_the_microsecond(position: Position, query: str) -> None:
    written = cursors.write(position, query=query, secrets=[NEW])

    assert cursors.read(written, query=query, secrets=[NEW]) == position


@given(st.data())
def test_any_changed_bit_breaks_a_cursor(data: st.DataObject) -> None:
    written = cursors.write(POSITION, query="q", secrets=[NEW])
    raw = bytearray(base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(BadRequest):
        cursors.read(base64.urlsafe_b64encode(raw).decode().rstrip("="), query="q", secrets=[NEW])


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_a_cursor_that_we_did_not_write_is_refused(forged: str) -> None:
    with pytest.raises(BadRequest):
        cursors.read(forged, query="q", secrets=[NEW])


def test_a_cursor_fits_only_its_query() -> None:
    written = cursors.write(POSITION, query="q", secrets=[NEW])

    with pytest.raises(BadRequest):
        cursors.read(written, query="another", secrets=[NEW])


def test_a_cursor_outlives_the_change_of_secrets_while_the_old_one_is_known() -> None:
    written = cursors.write(POSITION, query="q", secrets=[OLD])

    assert cursors.read(written, query="q", secrets=[NEW, OLD]) == POSITION
    with pytest.raises(BadRequest):
        cursors.read(written, query="q", secrets=[NEW])


def test_a_cursor_is_written_with_the_first_secret() -> None:
    written = cursors.write(POSITION, query="q", secrets=[NEW, OLD])

    assert cursors.read(written, query="q", secrets=[NEW]) == POSITION
