"""Names of what events name only by id: the wrap-up codes."""

from collections.abc import Iterator

from crm_sync.closure import canonical_id
from crm_sync.genesys.client import GenesysClient, not_understood

PAGE_SIZE = 100
MOST_PAGES = 1000


def wrapup_codes(client: GenesysClient) -> dict[str, str]:
    """Return the names of all wrap-up codes of the organisation, by id."""
    return dict(_pages(client, "/api/v2/routing/wrapupcodes"))


def _pages(client: GenesysClient, path: str) -> Iterator[tuple[str, str]]:
    for number in range(1, MOST_PAGES):
        found, pages = _ask(client, path, {"pageSize": str(PAGE_SIZE), "pageNumber": str(number)})
        yield from found
        if number >= pages or not found:
            return


def _ask(client: GenesysClient, path: str, params: dict[str, str]) -> tuple[list[tuple[str, str]], int]:
    answer = client.request("GET", path, params=params).json()
    entities = answer.get("entities") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(entities, list):
        raise not_understood("a list of names")
    pages = answer.get("pageCount")
    return [named for one in entities if (named := _read(one)) is not None], pages if isinstance(pages, int) else 1


def _read(entity: object) -> tuple[str, str] | None:
    match entity:
        case {"id": str(entity_id), "name": str(name)}:
            return canonical_id(entity_id), name
    return None
