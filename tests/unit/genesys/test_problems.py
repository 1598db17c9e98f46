"""What a refusal says: its code, the fields at fault, the permission that is missing, and never a customer's word."""

import pytest

from crm_sync.errors import Fault, Kind
from crm_sync.genesys import problems
from tests.unit.genesys.fakes import answer

FAULT = Fault(kind=Kind.CONFIG, code="http_403", message="", vendor_request_id="7272d362")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (
            {"code": "missing.permissions", "messageParams": {"permissions": "processautomation:trigger:add"}},
            ["processautomation:trigger:add"],
        ),
        (
            {
                "code": "missing.any.permissions",
                "message": "Unable to perform the requested action. You must have at least one of the following "
                "permissions assigned: [processautomation:trigger:view, processautomation:trigger:edit]",
                "messageParams": {},
            },
            ["processautomation:trigger:view", "processautomation:trigger:edit"],
        ),
        ({"code": "not.authorized", "message": "You are not authorized."}, []),
        ({"messageParams": ["a:b:c"], "message": 7}, []),
        ([], []),
        (b"<html>", []),
    ],
)
def test_a_403_names_the_permissions_that_are_missing(body: object, named: list[str]) -> None:
    response = answer(403, body)

    assert problems.missing_permissions(response) == named
    said = problems.sentence(response, FAULT, "remedy")
    assert all(permission in said for permission in named)
    assert ("role" in said) == (not named)
    assert "correlation id 7272d362" in said


def test_a_400_names_code_and_fields_and_no_values() -> None:
    body = {
        "message": "Ada's order is not valid",
        "code": "invalid.value",
        "details": [{"errorCode": "x", "fieldName": "channel.from.id"}, {"fieldName": "Ada Lovelace"}, 7],
    }

    said = problems.sentence(answer(400, body), FAULT, "the remedy")

    assert said == (
        "Genesys Cloud found the request malformed (HTTP 400, invalid.value, at channel.from.id, "
        "correlation id 7272d362): the remedy."
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 429, 500, 503])
def test_every_refusal_is_one_sentence_that_says_what_to_do(status: int) -> None:
    said = problems.sentence(answer(status, {"message": "Ada said no"}), FAULT, "the remedy")

    assert f"HTTP {status}" in said and ": " in said and said.endswith(".") and "Ada" not in said
    assert said.count(". ") == 0
