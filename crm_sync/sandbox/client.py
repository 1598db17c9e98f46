"""Clients of the two control APIs, for the demo and for tests."""

import time
from collections.abc import Collection
from typing import Any, Self
from urllib.parse import quote

import requests

from crm_sync import clock
from crm_sync.sandbox.wire import JSONObject


class _Control:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def traffic(self) -> list[JSONObject]:
        """Return how often each call was made: method, path, status, count."""
        return self._list("GET", "requests", "requests")

    def faults(self) -> list[JSONObject]:
        """Return the faults that have not happened yet."""
        return self._list("GET", "faults", "faults")

    def add_fault(self, **fault: Any) -> None:
        """Add a fault; one without `times` happens once, one with `times=None` until `clear_faults`."""
        self._ask("POST", "faults", fault)

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _list(self, method: str, path: str, name: str, body: JSONObject | None = None) -> list[Any]:
        found: list[Any] = self._ask(method, path, body).json()[name]
        return found

    def _ask(self, method: str, path: str, body: JSONObject | None = None) -> requests.Response:
        answer = self._session.request(method, f"{self.url}/sandbox/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer


class GenesysControl(_Control):
    """Controls a pretend Genesys Cloud. Every method raises requests.HTTPError when it is refused."""

    def conversations(self) -> list[JSONObject]:
        """Return every conversation with its posts."""
        return self._list("GET", "conversations", "conversations")

    def conversation(self, conversation_id: str) -> JSONObject:
        found: JSONObject = self._ask("GET", f"conversations/{conversation_id}").json()
        return found

    def end(self, conversation_id: str, resolution_status: str | None = "resolved", **options: Any) -> JSONObject:
        """End a conversation and return it; options are endTime, post, repeat, shuffle and wrapper."""
        body = {"resolutionStatus": resolution_status} | options
        ended: JSONObject = self._ask("POST", f"conversations/{conversation_id}/end", body).json()
        return ended

    def end_many(self, **options: Any) -> list[str]:
        """End active conversations and return their ids; options are count, resolutionStatuses and those of `end`."""
        return self._list("POST", "conversations/end_many", "ended", options)

    def webhooks(self) -> list[JSONObject]:
        return self._list("GET", "webhooks", "webhooks")

    def add_entry(self, kind: str, **fields: Any) -> JSONObject:
        """Add to the organisation, or replace by `id`, one of: flows, outcomes, queues, wrapupcodes."""
        entry: JSONObject = self._ask("POST", f"platform/directory/{kind}", fields).json()
        return entry

    def set_permissions(self, permissions: Collection[str] | None) -> None:
        """Let the OAuth client have only these permissions of the real platform; None is all."""
        body = {"permissions": None if permissions is None else sorted(permissions)}
        self._ask("PUT", "platform/permissions", body)

    def set_trigger_rules(self, **rules: Any) -> None:
        """Set topics and missingDiffers; what is not named becomes the default."""
        self._ask("PUT", "platform/triggers/rules", rules)

    def bot_sessions(self) -> list[JSONObject]:
        """Return every bot flow session: id, startedAt, over, the launch as it was sent, the turns as answered."""
        return self._list("GET", "platform/sessions", "sessions")

    def callbacks(self) -> dict[str, list[JSONObject]]:
        """Return the callbacks, transfers and attributes that were asked for."""
        told: dict[str, list[JSONObject]] = self._ask("GET", "platform/callbacks").json()
        return told

    def publish(self, topic: str, event_body: JSONObject) -> int:
        """Let the channels that are subscribed to a topic hear an event, and return how many did."""
        body = {"topic": topic, "eventBody": event_body}
        return int(self._ask("POST", "platform/channels/publish", body).json()["heard"])

    def announce_closing(self) -> int:
        """Tell every socket that it is about to be closed, and return how many were told."""
        return int(self._ask("POST", "platform/channels/announce_closing").json()["told"])

    def drop_sockets(self) -> int:
        """Cut every socket without a word, and return how many there were."""
        return int(self._ask("POST", "platform/channels/drop").json()["dropped"])

    def set_heartbeat(self, seconds: float | None) -> None:
        """Send a heartbeat to every socket now and then every so often; None stops them."""
        self._ask("PUT", "platform/channels/heartbeat", {"seconds": seconds})

    def expire_tokens(self) -> None:
        """End every token that was issued."""
        self._ask("POST", "tokens/expire")

    def posts(self) -> dict[str, int]:
        """Return how many posts are pending, delivered and given up."""
        counts: dict[str, int] = self._ask("GET", "posts").json()
        return counts

    def wait_until_posted(self, timeout_seconds: float = 30.0) -> dict[str, int]:
        """Wait until no post is pending and return the counts; raises TimeoutError."""
        until = clock.monotonic() + timeout_seconds
        while (counts := self.posts())["pending"]:
            if clock.monotonic() > until:
                raise TimeoutError(f"{counts['pending']} posts are still pending.")
            time.sleep(0.05)
        return counts

    def play(self, **options: Any) -> list[JSONObject]:
        """Let conversations of the platform happen and return the truth about them.

        Options are count, seed, media, stories, since, until and tell.
        """
        return self._list("POST", "platform/play", "conversations", options)

    def platform_conversations(self) -> list[JSONObject]:
        """Return the truth about every conversation of the platform, in the order in which they began."""
        return self._list("GET", "platform/conversations", "conversations")

    def listen(self, url: str, **options: Any) -> list[JSONObject]:
        """Let somebody be told of the platform's events and return all listeners.

        Options are secret, shape and workflow_id. Another listener at the same address is replaced.
        """
        return self._list("POST", "listeners", "listeners", {"url": url} | options)

    def listeners(self) -> list[JSONObject]:
        return self._list("GET", "listeners", "listeners")

    def clear_listeners(self) -> None:
        self._ask("DELETE", "listeners")

    def be(self, **moods: Any) -> JSONObject:
        """Set the moods and return them; what is not named becomes the default, which is a good mood."""
        set_moods: JSONObject = self._ask("PUT", "moods", moods).json()
        return set_moods


class CRMControl(_Control):
    """Controls a pretend CRM. Every method raises requests.HTTPError when it is refused."""

    def records(self) -> list[JSONObject]:
        """Return every record: id, conversation_id, version, data."""
        return self._list("GET", "records", "records")

    def record(self, conversation_id: str) -> JSONObject | None:
        """Return the record of a conversation, or None where the CRM has none."""
        answer = self._session.get(f"{self.url}/sandbox/records/{quote(conversation_id, safe='')}", timeout=30)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        record: JSONObject = answer.json()
        return record

    def effects(self) -> list[JSONObject]:
        """Return what each push did: at, push_key, conversation_id, version, outcome, effective, record_id."""
        return self._list("GET", "effects", "effects")

    def pushes(self) -> list[JSONObject]:
        """Return every push that arrived, in that order, refused ones and those under way too.

        Each has number, arrived_at, answered_at, push_key, conversation_id, version, status, outcome, effective.
        """
        pushes: list[JSONObject] = []
        while page := self._list("GET", f"pushes?after={len(pushes)}", "pushes"):
            pushes += page
        return pushes

    def pushes_under_way(self) -> int:
        """Return how many pushes have arrived and are not answered yet."""
        return int(self._ask("GET", "pushes?limit=0").json()["under_way"])

    def behave(self, **manner: Any) -> None:
        """Set the standing manner: latency_seconds, rate and burst; what is not named becomes the default."""
        self._ask("PUT", "manner", manner)
