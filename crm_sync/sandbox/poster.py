"""Posts to whoever is to be told: at least once, out of order on demand, and signed where it goes to a webhook."""

import heapq
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

import requests

from crm_sync import clock
from crm_sync.sandbox.signing import hub_signature
from crm_sync.sandbox.webhooks import ENDED, Webhook
from crm_sync.sandbox.wire import JSONObject, compact

Wrapper: TypeAlias = Literal["none", "conversation", "data", "eventBody"]

_BESIDE = {"conversation": "event", "data": "type", "eventBody": "topicName"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How events are posted. Each is posted `repeat` times; with `shuffle`, after a random part of `shuffle_seconds`.

    A post that is not taken is tried again, `attempts` times in all, after waits that double up to the longest. The
    waits are the sandbox's own: it does not read `Retry-After`.
    """

    repeat: int = 1
    shuffle: bool = False
    shuffle_seconds: float = 0.5
    wrapper: Wrapper = "none"
    timeout_seconds: float = 5.0
    attempts: int = 20
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 5.0

    def wait_after(self, attempt: int) -> float:
        """Return the seconds between this attempt, counted from one, and the next."""
        return min(self.longest_wait_seconds, self.first_wait_seconds * (1 << (attempt - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a post goes to, and the headers that prove where it comes from."""

    url: str
    headers: dict[str, str] = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Post:
    """One copy of one event on its way, with every attempt so far. `find` tells where `to` is by now, if anywhere."""

    conversation_id: str
    to: str
    copy: int
    manner: Manner
    find: Callable[[], Destination | None] = field(repr=False)
    body: bytes = field(repr=False)
    state: Literal["pending", "delivered", "given_up"] = "pending"
    attempts: list[JSONObject] = field(default_factory=list)

    def as_object(self) -> JSONObject:
        return {
            "to": self.to,
            "copy": self.copy,
            "state": self.state,
            "attempts": list(self.attempts),
        }


class Poster:
    """A few threads that post what is due. They start with the first post and end with `stop`."""

    def __init__(
        self,
        *,
        webhooks: Callable[[], list[Webhook]],
        threads: int,
        seed: int | None,
    ) -> None:
        self._webhooks = webhooks
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Post]] = []
        self._posts: list[Post] = []
        self._counts: Counter[str] = Counter()
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._work, name="sandbox-poster") for _ in range(threads)]

    def send(self, conversation: JSONObject, manner: Manner) -> None:
        """Owe a closed conversation to every webhook that is registered now for its end."""
        body = compact(_wrapped(conversation, manner.wrapper))
        listeners = [webhook.id for webhook in self._webhooks() if ENDED in webhook.events]
        with self._changed:
            for webhook_id in listeners:
                for copy in range(1, manner.repeat + 1):
                    self.post(
                        body,
                        conversation_id=conversation["id"],
                        to=webhook_id,
                        find=partial(self._signed, webhook_id, body),
                        manner=manner,
                        copy=copy,
                        wait_seconds=self._random.uniform(0, manner.shuffle_seconds) if manner.shuffle else 0.0,
                    )

    def post(
        self,
        body: bytes,
        *,
        conversation_id: str,
        to: str,
        find: Callable[[], Destination | None],
        manner: Manner,
        copy: int = 1,
        wait_seconds: float = 0.0,
    ) -> None:
        """Owe a body to a destination, which is found anew at every attempt."""
        post = Post(conversation_id=conversation_id, to=to, copy=copy, manner=manner, find=find, body=body)
        with self._changed:
            self._posts.append(post)
            self._counts[post.state] += 1
            self._schedule(post, wait_seconds)
            if not self._threads[0].ident and not self._is_stopped:
                for thread in self._threads:
                    thread.start()

    def posts_of(self, conversation_id: str) -> list[JSONObject]:
        with self._changed:
            return [post.as_object() for post in self._posts if post.conversation_id == conversation_id]

    def posts(self) -> dict[str, list[JSONObject]]:
        """Return all posts by conversation id."""
        by_conversation: dict[str, list[JSONObject]] = {}
        with self._changed:
            for post in self._posts:
                by_conversation.setdefault(post.conversation_id, []).append(post.as_object())
        return by_conversation

    def counts(self) -> dict[str, int]:
        """Return how many posts are pending, delivered and given up."""
        with self._changed:
            return {state: self._counts[state] for state in ("pending", "delivered", "given_up")}

    def stop(self) -> None:
        """End the threads after the posts in flight; what is still pending stays so."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while (post := self._next()) is not None:
                attempt = self._attempt(session, post)
                with self._changed:
                    self._settle(post, attempt)

    def _next(self) -> Post | None:
        with self._changed:
            while not self._is_stopped:
                wait = self._due[0][0] - clock.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None

    def _attempt(self, session: requests.Session, post: Post) -> JSONObject:
        """Post once, to the address and with the secret of now."""
        at = clock.to_text(clock.now())
        destination = post.find()
        if destination is None:
            return {"at": at, "status": None, "error": "unregistered"}
        try:
            answer = session.post(
                destination.url,
                data=post.body,
                headers={"Content-Type": "application/json"} | destination.headers,
                timeout=post.manner.timeout_seconds,
                allow_redirects=False,
            )
        except requests.Timeout:
            return {"at": at, "status": None, "error": "timeout"}
        except requests.RequestException:
            return {"at": at, "status": None, "error": "connection"}
        return {"at": at, "status": answer.status_code, "error": None}

    def _signed(self, webhook_id: str, body: bytes) -> Destination | None:
        webhook = next((webhook for webhook in self._webhooks() if webhook.id == webhook_id), None)
        if webhook is None:
            return None
        headers = {"X-Hub-Signature-256": hub_signature(webhook.secret, body)} if webhook.secret else {}
        return Destination(url=webhook.url, headers=headers)

    def _settle(self, post: Post, attempt: JSONObject) -> None:
        post.attempts.append(attempt)
        status, error = attempt["status"], attempt["error"]
        if status is not None and 200 <= status < 300:
            self._end(post, "delivered")
        elif error in ("timeout", "connection") or (status is not None and (status == 429 or status >= 500)):
            self._try_again(post)
        else:
            self._end(post, "given_up")

    def _end(self, post: Post, state: Literal["delivered", "given_up"]) -> None:
        self._counts[post.state] -= 1
        self._counts[state] += 1
        post.state = state
        # Nobody reads it any more, and many thousands of them are a burden.
        post.body = b""

    def _try_again(self, post: Post) -> None:
        made = len(post.attempts)
        if made >= post.manner.attempts:
            self._end(post, "given_up")
            return
        self._schedule(post, post.manner.wait_after(made))

    def _schedule(self, post: Post, wait_seconds: float) -> None:
        # The random number decides between posts that are due at the same instant, since posts have no order.
        heapq.heappush(self._due, (clock.monotonic() + wait_seconds, self._random.getrandbits(62), post))
        self._changed.notify()


def _wrapped(conversation: JSONObject, wrapper: Wrapper) -> JSONObject:
    if wrapper == "none":
        return conversation
    return {_BESIDE[wrapper]: ENDED, wrapper: conversation}
