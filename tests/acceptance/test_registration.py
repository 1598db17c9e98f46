"""The registration at Genesys Cloud: one, whoever starts and how often; kept right; and a secret that is rotated."""

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from crm_sync.sandbox.client import GenesysControl
from tests.acceptance.harness import Running, World, ask, free_port
from tests.acceptance.sender import PATH, Sender, event

OLD, NEW = "the-old-secret-of-the-tests", "the-new-secret-of-the-tests"
CLIENT = {"GENESYS_CLIENT_ID": "sandbox", "GENESYS_CLIENT_SECRET": "sandbox-secret", "GENESYS_REGISTRATION": "webhook"}
PER_SECOND, AT_ONCE = 100, 10
"""How many conversations end while the secret is rotated: fewer where the machine is too slow for so many."""


def registration(web: Running) -> dict[str, Any]:
    """Return what /readyz says of the registration; the service must be ready whatever that is."""
    answer = ask(f"{web.url}/readyz")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["registration"]
    return found


def until_registered(world: World, web: Running) -> None:
    world.until(lambda: registration(web)["state"] == "registered", "the webhook is registered")


def until_each_was_at_it(world: World, webs: list[Running]) -> None:
    world.until(lambda: all("registration_done" in web.said() for web in webs), "each web has made sure of it")


def begin(genesys: GenesysControl, count: int) -> list[str]:
    """Start conversations at the pretend Genesys Cloud, not through the service."""
    form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret"}
    body = {"to": [{"id": "bot-1"}], "from": {"id": "customer-1"}, "type": "chat", "attributes": {}}
    with requests.Session() as session:
        session.trust_env = False
        token = session.post(f"{genesys.url}/oauth/token", data=form).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        return [session.post(f"{genesys.url}/api/v2/conversations", json=body).json()["id"] for _ in range(count)]


def test_ten_starts_leave_one_registration(world: World) -> None:
    genesys = world.genesys()
    world.environment |= CLIENT | {"GENESYS_API_URL": genesys.url, "PUBLIC_URL": "http://127.0.0.1:9"}
    world.environment |= {"WEB_CONCURRENCY": "1"}
    # So that the others look, and see none, while the first is still at it.
    genesys.add_fault(path="/api/v2/integrations/webhooks", method="POST", delay_seconds=4)
    for _ in range(2):
        webs = [world.web(wait=False) for _ in range(5)]
        for web in webs:
            world.until_answers(web)
            until_registered(world, web)
        # Who is ended in the middle of it keeps the others waiting for a minute.
        until_each_was_at_it(world, webs)
        with ThreadPoolExecutor(len(webs)) as pool:
            assert list(pool.map(Running.stop, webs)) == [0] * len(webs)

    (webhook,) = genesys.webhooks()
    assert (webhook["url"], webhook["events"]) == (f"http://127.0.0.1:9{PATH}", ["conversation:ended"])
    assert {(t["method"], t["status"], t["count"]) for t in genesys.traffic() if t["method"] != "GET"} == {
        ("POST", 201, 1),
        ("POST", 200, next(t["count"] for t in genesys.traffic() if t["path"] == "/oauth/token")),
    }


def test_a_new_address_and_a_new_secret_change_the_same_registration(world: World) -> None:
    genesys = world.genesys()
    port = free_port()
    there = f"http://127.0.0.1:{port}"
    world.environment |= CLIENT | {"GENESYS_API_URL": genesys.url}
    seen = []
    for public_url, secret in (("http://127.0.0.1:9", OLD), (there, OLD), (there, NEW)):
        web = world.web(port=port, PUBLIC_URL=public_url, WEBHOOK_SECRETS=secret)
        until_registered(world, web)
        seen.append(genesys.webhooks())
        if secret == OLD:
            web.stop()
    ended = genesys.end(begin(genesys, 1)[0])
    genesys.wait_until_posted()

    assert len({webhooks[0]["id"] for webhooks in seen}) == 1
    assert [[webhook["url"] for webhook in webhooks] for webhooks in seen] == [
        ["http://127.0.0.1:9" + PATH],
        [there + PATH],
        [there + PATH],
    ]
    assert genesys.conversation(ended["id"])["statuses"] == [202]


def test_while_genesys_is_away_events_are_received_and_the_registration_follows_by_itself(world: World) -> None:
    port = free_port()
    world.environment |= CLIENT | {"GENESYS_API_URL": f"http://127.0.0.1:{port}", "PUBLIC_URL": "http://127.0.0.1:9"}
    web = world.web()
    with Sender(web.url) as sender:
        received = sender.status(event("customer.end"))
    failed = world.until(lambda: (found := registration(web))["state"] == "failed" and found, "the failure is told")
    genesys = world.genesys(port=port)
    until_registered(world, web)

    assert received == "accepted"
    assert failed["error"]
    assert registration(web)["error"] is None
    assert len(genesys.webhooks()) == 1


def test_a_secret_is_rotated_under_load_without_a_restart_and_no_event_is_refused_or_lost(world: World) -> None:
    genesys = world.genesys("--seed", "1")
    secrets = world.folder / "webhook-secrets"
    secrets.write_text(OLD)
    port = free_port()
    world.environment |= CLIENT | {"GENESYS_API_URL": genesys.url, "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    world.environment |= {"WEBHOOK_SECRETS_FILE": str(secrets)}
    del world.environment["WEBHOOK_SECRETS"]
    web = world.web(port=port)
    until_registered(world, web)
    enough = threading.Event()

    def end_steadily() -> int:
        ended = 0
        while not enough.wait(AT_ONCE / PER_SECOND):
            if genesys.posts()["pending"] < 10 * AT_ONCE:
                begin(genesys, AT_ONCE)
                ended += len(genesys.end_many(count=AT_ONCE))
        return ended

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end_steadily)
        try:
            for rotated in (f"{OLD},{NEW}", f"{NEW},{OLD}", NEW):
                rotate(world, web, secrets, rotated)
        finally:
            enough.set()
        ended = ending.result()
    genesys.wait_until_posted()
    posts = [post for one in genesys.conversations() if one["state"] == "closed" for post in one["posts"]]
    answers = Counter(attempt["status"] for post in posts for attempt in post["attempts"])

    assert ended == len(posts) > 0
    assert {post["state"] for post in posts} == {"delivered"}
    # While the processes are replaced a post may have to wait for longer than the sender does; none is refused.
    assert set(answers) <= {202, None}, answers
    assert world.rows("SELECT count(*) AS stored FROM events WHERE status = 'accepted'") == [{"stored": ended}]
    with Sender(web.url) as sender:
        assert sender.post_raw(b"{}", {"X-Webhook-Secret": OLD}).status_code == 401
        assert sender.post_raw(b"{}", {"X-Webhook-Secret": NEW}).status_code == 202


def rotate(world: World, web: Running, file: Any, content: str) -> None:
    """Write the secrets anew and have the web processes read them; wait until the old ones are gone."""
    before = world.children(web)
    file.write_text(content)
    web.signal(signal.SIGHUP)
    world.until(lambda: (now := world.children(web)) and not now & before, "new web processes have taken over")
    until_registered(world, web)


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_without_credentials_nothing_is_registered_and_a_warning_says_so(world: World) -> None:
    del world.environment["GENESYS_REGISTRATION"]
    web = world.web()

    assert registration(web)["state"] == "not_configured"
    assert "No webhook is registered with Genesys Cloud" in web.said()
