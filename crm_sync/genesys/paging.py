"""Lists of the real platform that come in pages, each of which tells the address of the next."""

from urllib.parse import urlencode, urlsplit

from crm_sync.closure import JSON
from crm_sync.genesys.client import GenesysClient, not_understood

PAGE_SIZE = 200
MOST_PAGES = 200


def entities(client: GenesysClient, path: str, *, what: str, **params: str) -> list[JSON]:
    """Return the entities of all pages; `what` names the list in the failure that tells that it was not understood."""
    found: list[JSON] = []
    seen: set[str] = set()
    following: str | None = f"{path}?{urlencode(params | {'pageSize': str(PAGE_SIZE)})}"
    while following is not None:
        if following in seen or len(seen) == MOST_PAGES:
            raise not_understood(what)
        seen.add(following)
        answer = client.request("GET", following).json()
        page = answer.get("entities") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(page, list):
            raise not_understood(what)
        found += page
        following = _next(answer.get("nextUri"), what)
    return found


def _next(uri: JSON, what: str) -> str | None:
    """Return path and query of the next page. Its host is not ours to follow: the token would go there, too."""
    if not uri:
        return None
    try:
        parts = urlsplit(uri) if isinstance(uri, str) else None
    except ValueError:
        parts = None
    if parts is None or not parts.path.startswith("/api/"):
        raise not_understood(what)
    return f"{parts.path}?{parts.query}"
