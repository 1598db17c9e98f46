"""The real platform's way: triggers that the service has made start a workflow, whose data action posts to it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from crm_sync.sandbox.client import GenesysControl
from tests.acceptance.harness import SECRET, Running, World, ask, free_port
from tests.acceptance.sender import PATH

WORKFLOW = "b008976c-e085-43b7-b27d-9c0efd5fbfb5"
TRIGGERS = "/api/v2/processautomation/triggers"
KINDS = ("customer.start", "customer.end", "acd.end", "user.end", "acw")
ENVIRONMENT = {
    "GENESYS_CLIENT_ID": "sandbox",
    "GENESYS_CLIENT_SECRET": "sandbox-secret",
    "GENESYS_REGISTRATION": "trigger",
    "GENESYS_WORKFLOW_ID": WORKFLOW,
}
CODES = """
[resolution.wrapup_codes]
"f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21" = "resolved"
"3a6d1c92-7b45-4e0f-a8d1-5c2e9f4b6a73" = "unresolved"
"c84b2e17-6f3d-4d9a-b0e5-1a7c8d2f9e46" = "escalated"
"""
STORIES = ["agent", "transfer", "abandoned", "unanswered_alert"]
"""What the default kinds tell of in full."""


def triggers(genesys: GenesysControl) -> list[dict[str, Any]]:
    """Return all triggers, as any client of the platform sees them."""
    form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret"}
    with requests.Session() as session:
        session.trust_env = False
        token = session.post(f"{genesys.url}/oauth/token", data=form).json()["access_token"]
        answer = session.get(genesys.url + TRIGGERS, headers={"Authorization": f"Bearer {token}"})
        return list(answer.json()["entities"])


def until_registered(world: World, web: Running) -> None:
    def is_registered() -> bool:
        return bool(ask(f"{web.url}/readyz").json()["registration"]["state"] == "registered")

    world.until(is_registered, "the triggers are registered")


@pytest.mark.parametrize("shape", ["flat", "bare"])
def test_a_conversation_comes_by_trigger_and_workflow_and_is_closed(world: World, shape: str) -> None:
    """Whether the workflow names the topic or not."""
    genesys = world.genesys("--seed", "1")
    port = free_port()
    world.settings = CODES
    world.environment |= ENVIRONMENT | {"GENESYS_API_URL": genesys.url}
    genesys.listen(f"http://127.0.0.1:{port}{PATH}", secret=SECRET, shape=shape, workflow_id=WORKFLOW)
    genesys.play(count=4, seed=3, stories=STORIES)
    before = genesys.wait_until_posted()
    web = world.web(port=port)
    until_registered(world, web)

    told = genesys.play(count=20, seed=7, stories=STORIES)
    posts = genesys.wait_until_posted()

    assert before == {"pending": 0, "delivered": 0, "given_up": 0}
    assert posts["given_up"] == 0 < posts["delivered"]
    found = world.rows("SELECT conversation_id, closed, resolution FROM closures")
    assert {(row["conversation_id"], bool(row["closed"]), row["resolution"]) for row in found} == {
        (one["id"], one["closed"], one["resolution"]) for one in told
    }


def test_several_webs_that_start_at_once_leave_one_trigger_for_each_kind(world: World) -> None:
    genesys = world.genesys()
    world.environment |= ENVIRONMENT | {"GENESYS_API_URL": genesys.url, "WEB_CONCURRENCY": "1"}
    # So that the others look, and see none, while the first is still at it.
    genesys.add_fault(path=TRIGGERS, method="POST", delay_seconds=4)
    webs = [world.web(wait=False) for _ in range(3)]
    for web in webs:
        world.until_answers(web)
        until_registered(world, web)
    world.until(lambda: not world.rows("SELECT name FROM leases WHERE until > CURRENT_TIMESTAMP"), "none registers")
    with ThreadPoolExecutor(len(webs)) as pool:
        assert list(pool.map(Running.stop, webs)) == [0] * len(webs)

    assert sorted(one["name"] for one in triggers(genesys)) == sorted(f"crm-sync {kind}" for kind in KINDS)
    assert sum(seen["count"] for seen in genesys.traffic() if (seen["method"], seen["path"]) == ("POST", TRIGGERS)) == 5
