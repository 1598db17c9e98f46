"""What a refusal of Genesys Cloud means, in one sentence with its remedy, and without a word of the body's texts.

Its error body holds `message code status messageParams details[] contextId`. The message may repeat what a customer
wrote, so only codes, names of fields and permissions are read from it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from crm_sync.errors import AdapterFailure, Fault
from crm_sync.transport import Response

_CODE = re.compile(r"[a-z][a-z0-9._]{0,60}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9._\[\]]{0,60}")
_PERMISSION = re.compile(r"\b[A-Za-z][A-Za-z-]{1,60}(?::[A-Za-z*][A-Za-z-]{0,60}){1,2}")
_MOST_NAMED = 5

_WRONG_TOKEN = (
    "Genesys Cloud refused even a new access token (HTTP 401): check GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET, "
    "and that GENESYS_API_URL and GENESYS_LOGIN_URL belong together."
)
_NOT_FOUND = "Genesys Cloud has no such thing at this address (HTTP 404): check GENESYS_REGION and GENESYS_API_URL."
_CONFLICT = (
    "Genesys Cloud refused the change (HTTP 409), for somebody else has changed the same thing meanwhile: look at "
    "it as it is now, and try again."
)
_TOO_LARGE = "Genesys Cloud found the request too large (HTTP 413): send less at once."
_TOO_OFTEN = (
    "Genesys Cloud limits our rate (HTTP 429): wait as long as its Retry-After says, or back off, and spread the "
    "load over several OAuth clients when one is not enough."
)
_TUTORIAL_SCOPES = "conversations:write, integrations:write and analytics:conversation:view"


def code(response: Response) -> str | None:
    """Return the code in the body, such as `missing.permissions`."""
    found = _body(response).get("code")
    return found if isinstance(found, str) and _CODE.fullmatch(found) else None


def sentence(response: Response, fault: Fault, malformed: str) -> str:
    """Return what happened and what to do. `malformed` is the remedy for a request that was not understood."""
    status, named = response.status, _quoted(response, fault)
    match status:
        case 400:
            return f"Genesys Cloud found the request malformed (HTTP 400{named}): {malformed}."
        case 401:
            return _WRONG_TOKEN
        case 403:
            return (
                f"Genesys Cloud does not allow this OAuth client to do that (HTTP 403{named}): "
                f"{_grant(response)}, and see that the admin console shows it as enabled."
            )
        case 404:
            return _NOT_FOUND
        case 409:
            return _CONFLICT
        case 413:
            return _TOO_LARGE
        case 429:
            return _TOO_OFTEN
    if status >= 500:
        known = f" and name the correlation id {fault.vendor_request_id}" if fault.vendor_request_id else ""
        return (
            f"Genesys Cloud failed (HTTP {status}): try again later and ever more slowly; if it persists over several "
            f"requests, contact its support{known}."
        )
    return f"Genesys Cloud refused the request (HTTP {status}{named}): {malformed}."


def missing_permissions(response: Response) -> list[str]:
    """Return the permissions or scopes that a 403 says are lacking: from its parameters, else from its message."""
    body = _body(response)
    params = body.get("messageParams")
    texts = [value for value in params.values() if isinstance(value, str)] if isinstance(params, dict) else []
    found = _permissions(texts) or _permissions([body.get("message")])
    return found[:_MOST_NAMED]


def _grant(response: Response) -> str:
    found = missing_permissions(response)
    if found:
        return f"grant it {' or '.join(found)}"
    return (
        "give its role the permission for this call (docs/genesys-setup.md lists them), or by the tutorial's contract "
        f"the scopes {_TUTORIAL_SCOPES}"
    )


def _quoted(response: Response, fault: Fault) -> str:
    """Return the code, the fields and the correlation id that the answer names, to stand behind the status."""
    fields = list(_fields(_body(response)))[:_MOST_NAMED]
    parts = [code(response), f"at {', '.join(fields)}" if fields else None]
    parts.append(f"correlation id {fault.vendor_request_id}" if fault.vendor_request_id else None)
    return "".join(f", {part}" for part in parts if part)


def _fields(body: Mapping[str, Any]) -> Iterator[str]:
    details = body.get("details")
    for detail in details if isinstance(details, list) else []:
        name = detail.get("fieldName") if isinstance(detail, dict) else None
        if isinstance(name, str) and _FIELD.fullmatch(name):
            yield name


def _permissions(texts: list[Any]) -> list[str]:
    return list(dict.fromkeys(word for text in texts if isinstance(text, str) for word in _PERMISSION.findall(text)))


def _body(response: Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except AdapterFailure:
        return {}
    return answer if isinstance(answer, dict) else {}
