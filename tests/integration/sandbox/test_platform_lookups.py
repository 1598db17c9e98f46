"""The pretend organisation, looked up as on the real platform."""

from collections.abc import Callable

import pytest
import requests

from crm_sync.sandbox.oauth import OAuthClient
from tests.integration.sandbox.harness import Genesys

RESOLVED = "f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21"
WORKFLOW = "b008976c-e085-43b7-b27d-9c0efd5fbfb5"
SUPPORT = "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"


def test_a_workflow_shows_that_it_is_active_and_published(genesys: Genesys) -> None:
    flow = genesys.call("GET", f"/api/v2/flows/{WORKFLOW}").json()

    assert (flow["type"], flow["active"], flow["deleted"], flow["publishedVersion"]["id"]) == (
        "WORKFLOW",
        True,
        False,
        "3.0",
    )


def test_a_draft_is_neither_active_nor_published(genesys: Genesys) -> None:
    made = genesys.control.add_entry("flows", name="Draft", active=False, version=None)

    flow = genesys.call("GET", f"/api/v2/flows/{made['id']}").json()

    assert flow["active"] is False
    assert "publishedVersion" not in flow


def test_wrap_up_codes_come_in_pages_that_show_everything_once(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(page_size=2)
    seen, path = [], "/api/v2/routing/wrapupcodes"
    while path:
        page = genesys.call("GET", path).json()
        seen += [code["name"] for code in page["entities"]]
        path = page.get("nextUri")

    assert (page["pageNumber"], page["pageCount"], page["total"]) == (2, 2, 3)
    assert seen == ["Resolved", "Not resolved", "Escalated"]
    assert genesys.call("GET", page["previousUri"]).json()["pageNumber"] == 1


@pytest.mark.parametrize("query", ["pageSize=0", "pageSize=501", "pageNumber=0", "pageNumber=x", "pageSize=-1"])
def test_a_page_that_makes_no_sense_is_refused(genesys: Genesys, query: str) -> None:
    answer = genesys.call("GET", f"/api/v2/routing/wrapupcodes?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid.value")


def test_one_code_is_read_and_an_unknown_one_is_a_404(genesys: Genesys) -> None:
    assert genesys.call("GET", f"/api/v2/routing/wrapupcodes/{RESOLVED}").json()["name"] == "Resolved"
    assert genesys.call("GET", "/api/v2/routing/wrapupcodes/unknown").status_code == 404


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/api/v2/routing/queues", [SUPPORT, "d5a3f8b1-2c4e-4f60-9a7b-8e1d0c6b5a94"]),
        ("/api/v2/flows", ["12aeeeff-c0af-4f8b-b647-7a350630419f", WORKFLOW]),
        ("/api/v2/flows/outcomes", ["0f7a6f3e-1111-4c2b-8f60-2f4d6a9e0b01"]),
    ],
)
def test_several_are_read_by_their_ids_and_unknown_ids_are_left_out(
    genesys: Genesys, path: str, wanted: list[str]
) -> None:
    page = genesys.call("GET", path, params={"id": ",".join([*wanted, "unknown"])}).json()

    assert {entity["id"] for entity in page["entities"]} == set(wanted)


def test_flows_are_chosen_by_type_and_deleted_ones_only_shown_by_id(genesys: Genesys) -> None:
    gone = genesys.control.add_entry("flows", name="Old", deleted=True)["id"]

    by_type = genesys.call("GET", "/api/v2/flows?type=workflow").json()["entities"]
    by_id = genesys.call("GET", f"/api/v2/flows?id={gone}").json()["entities"]

    assert {flow["type"] for flow in by_type} == {"WORKFLOW"}
    assert gone not in {flow["id"] for flow in by_type}
    assert [flow["deleted"] for flow in by_id] == [True]


def test_a_queue_offers_its_own_codes_or_all(genesys: Genesys) -> None:
    chosen = genesys.control.add_entry("queues", name="Returns", wrapupCodes=[RESOLVED])["id"]

    def names(queue_id: str) -> list[str]:
        page = genesys.call("GET", f"/api/v2/routing/queues/{queue_id}/wrapupcodes").json()
        return [code["name"] for code in page["entities"]]

    assert names(chosen) == ["Resolved"]
    assert names(SUPPORT) == ["Resolved", "Not resolved", "Escalated"]
    assert genesys.call("GET", "/api/v2/routing/queues/unknown/wrapupcodes").status_code == 404


def test_an_entry_is_replaced_by_its_id(genesys: Genesys) -> None:
    genesys.control.add_entry("wrapupcodes", id=RESOLVED, name="Solved")

    assert genesys.call("GET", f"/api/v2/routing/wrapupcodes/{RESOLVED}").json()["name"] == "Solved"


def test_an_entry_that_makes_no_sense_is_refused(genesys: Genesys) -> None:
    with pytest.raises(requests.HTTPError, match="404"):
        genesys.control.add_entry("skills", name="Swedish")
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.add_entry("queues", name="")


def test_whoever_has_a_token_learns_whose_it_is(genesys: Genesys) -> None:
    token = genesys.call("GET", "/api/v2/tokens/me").json()
    organization = genesys.call("GET", "/api/v2/organizations/me").json()

    assert token["OAuthClient"]["id"] == "sandbox"
    assert token["organization"]["id"] == organization["id"]
    assert organization["state"] == "active"


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        (f"/api/v2/flows/{WORKFLOW}", "architect:flow:view"),
        ("/api/v2/flows", "architect:flow:view"),
        ("/api/v2/flows/outcomes", "architect:flowOutcome:view"),
        ("/api/v2/routing/wrapupcodes", "routing:wrapupCode:view"),
        (f"/api/v2/routing/wrapupcodes/{RESOLVED}", "routing:wrapupCode:view"),
        ("/api/v2/routing/queues", "routing:queue:view"),
        (f"/api/v2/routing/queues/{SUPPORT}/wrapupcodes", "routing:queue:view"),
    ],
)
def test_every_look_up_needs_a_token_and_its_permission(
    make_genesys: Callable[..., Genesys], path: str, permission: str
) -> None:
    without = make_genesys(client=OAuthClient(permissions=frozenset()))
    having = make_genesys(client=OAuthClient(permissions=frozenset({permission})))

    refused = without.call("GET", path)

    assert (refused.status_code, refused.json()["messageParams"]) == (403, {"permissions": permission})
    assert having.call("GET", path).status_code == 200
    assert without.session.get(without.url + path).status_code == 401


def test_the_permissions_of_the_client_can_be_taken_and_given_back(genesys: Genesys) -> None:
    statuses = []
    for permissions in (["routing:queue:view"], [], None):
        genesys.control.set_permissions(permissions)
        statuses.append(genesys.call("GET", "/api/v2/routing/queues").status_code)

    assert statuses == [200, 403, 200]
