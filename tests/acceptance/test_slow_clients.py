"""Clients that are slow on purpose: cut at a deadline, while everybody else is served."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.acceptance.harness import World
from tests.acceptance.sender import PATH, Sender, conversation

HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BYTES = 60


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=60)


def drip(url: str) -> tuple[bytes, int]:
    """Send a body of a minute at one byte a second; return the answer, and how many bytes had left by then."""
    with connect(url) as connection:
        connection.sendall(f"{HEAD}Content-Length: {BYTES}\r\n\r\n".encode())
        connection.settimeout(1)
        for sent in range(BYTES):
            connection.sendall(b" ")
            try:
                return connection.recv(65_536), sent + 1
            except TimeoutError:
                pass
    return b"", BYTES


def stop_within_the_head(url: str) -> bytes:
    """Send half of a request's head and return what comes before the server closes the connection."""
    with connect(url) as connection:
        connection.sendall(HEAD.encode())
        return connection.recv(65_536)


def test_slow_bodies_are_cut_at_the_deadline_while_others_are_served(world: World) -> None:
    world.settings = "[receive]\nbody_deadline_seconds = 3\n"
    url = world.web().url
    with ThreadPoolExecutor(40) as pool, Sender(url) as sender:
        slow = [pool.submit(drip, url) for _ in range(40)]
        time.sleep(0.5)
        served = [sender.status(conversation(f"c-{number}")) for number in range(20)]
        still_dripping = [one for one in slow if not one.done()]
        answers = [one.result() for one in slow]

    assert served == ["accepted"] * 20
    assert still_dripping
    assert {answer[:13] for answer, _ in answers} == {b"HTTP/1.1 408 "}
    assert max(sent for _, sent in answers) < BYTES
    assert world.counts()["events"] == 20


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_half_a_head_is_cut_while_others_are_served(world: World) -> None:
    url = world.web().url
    with ThreadPoolExecutor(40) as pool, Sender(url) as sender:
        halves = [pool.submit(stop_within_the_head, url) for _ in range(40)]
        time.sleep(0.5)
        served = [sender.status(conversation(f"c-{number}")) for number in range(20)]
        cut = [half.result() for half in halves]

    assert served == ["accepted"] * 20
    assert cut == [b""] * 40
