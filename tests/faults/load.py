"""A load whose order a seed decides: new conversations, later updates of them, duplicates, some of it out of order."""

import json
import random
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

import requests

from tests.acceptance.sender import Sender, conversation
from tests.faults.history import History, digest

FIRST_END = datetime(2024, 1, 15, 10, 34, tzinfo=UTC)
RECENT = 60
SENDERS = 4
GIVEN_UP = 0.2
RETRY_SECONDS = 0.05
LONGEST_OUTAGE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is posted: a conversation that has ended, then or later than was told before."""

    conversation_id: str
    step: int

    @property
    def ended_at(self) -> str:
        """The end, a minute later with each step."""
        return (FIRST_END + timedelta(minutes=self.step)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def body(self) -> bytes:
        """The same bytes whenever it is posted."""
        return json.dumps(conversation(self.conversation_id, endTime=self.ended_at)).encode()


class Load:
    """The events in turn, for any number of threads."""

    def __init__(self, seed: object) -> None:
        self._dice = random.Random(f"{seed} load")
        self._lock = threading.Lock()
        self._steps: dict[str, int] = {}
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._held_back: deque[Event] = deque()

    def next(self) -> Event:
        """Return the event to be sent next."""
        with self._lock:
            event = self._draw()
            self._recent.append(event)
            return event

    def held_back(self) -> list[Event]:
        """Return what was overtaken and has not been sent yet."""
        with self._lock:
            return list(self._held_back)

    def _draw(self) -> Event:
        chance = self._dice.random()
        if chance < 0.10 and self._recent:
            return self._dice.choice(self._recent)
        if chance < 0.25 and self._held_back:
            return self._held_back.popleft()
        if chance < 0.60 and self._recent:
            overtakes = self._dice.random() < 0.3
            conversation_id = self._dice.choice(self._recent).conversation_id
            if overtakes:
                self._held_back.append(self._step(conversation_id))
            return self._step(conversation_id)
        return self._step(str(UUID(int=self._dice.getrandbits(128), version=4)))

    def _step(self, conversation_id: str) -> Event:
        self._steps[conversation_id] = self._steps.get(conversation_id, -1) + 1
        return Event(conversation_id=conversation_id, step=self._steps[conversation_id])


class Senders:
    """Threads that send a load at a steady pace of so many events a second, until they are stopped.

    What is not acknowledged is sent again, unless the dice say that it is given up.
    """

    def __init__(self, load: Load, history: History, url: str, *, seed: object, pace: float) -> None:
        self._load = load
        self._history = history
        self._url = url
        self._seed = seed
        self._pause_seconds = SENDERS / pace
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS)
        self._sending: list[Future[None]] = []
        self._posting = threading.Event()
        self.acked = 0

    def wait_for_a_post(self) -> None:
        """Return when a post has just begun."""
        self._posting.clear()
        assert self._posting.wait(LONGEST_OUTAGE_SECONDS), "nobody posts"

    def send_the_rest(self) -> None:
        """Take nothing more from the load, but send all that was held back of it, and return when that is done."""
        self._stop.set()
        for sending in self._sending:
            sending.result()
        with Sender(self._url) as sender:
            for event in self._load.held_back():
                self._send(sender, event, gives_up=False)

    def __enter__(self) -> Self:
        self._sending = [self._pool.submit(self._send_all, number) for number in range(SENDERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def _send_all(self, number: int) -> None:
        dice = random.Random(f"{self._seed} sender {number}")
        with Sender(self._url) as sender:
            while not self._stop.wait(self._pause_seconds):
                self._send(sender, self._load.next(), gives_up=dice.random() < GIVEN_UP)

    def _send(self, sender: Sender, event: Event, *, gives_up: bool) -> None:
        names = {"event": digest(event.body), "conversation_id": event.conversation_id, "ended_at": event.ended_at}
        ends_at = time.monotonic() + LONGEST_OUTAGE_SECONDS
        while True:
            self._history.note("sent", at=time.time(), **names)
            self._posting.set()
            status = _posted(sender, event)
            if status is not None:
                self._history.note("acked", at=time.time(), event=names["event"], status=status)
                self.acked += 1
                return
            self._history.note("unanswered", at=time.time(), event=names["event"])
            if gives_up:
                return
            assert time.monotonic() < ends_at, f"nobody has taken an event for {LONGEST_OUTAGE_SECONDS:.0f} s"
            time.sleep(RETRY_SECONDS)


def _posted(sender: Sender, event: Event) -> str | None:
    """Return what the webhook says of the event, or None where it has acknowledged nothing."""
    try:
        answer = sender.post(event.body)
    except requests.RequestException:
        return None
    return str(answer.json()["status"]) if answer.status_code == 202 else None
