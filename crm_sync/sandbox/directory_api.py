"""The look-ups of the pretend Genesys Cloud: flows, outcomes, queues, wrap-up codes, and who is asking."""

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify

from crm_sync.sandbox.directory import ORGANIZATION, Directory, Entry, Flow, Outcome, Queue, WrapupCode
from crm_sync.sandbox.oauth import OAuthClient, Tokens
from crm_sync.sandbox.paging import asked_ids, by_number

FLOW, OUTCOME = "architect:flow:view", "architect:flowOutcome:view"
QUEUE, CODE = "routing:queue:view", "routing:wrapupCode:view"


def blueprint(directory: Directory, tokens: Tokens, client: OAuthClient, *, page_size: int) -> Blueprint:
    """Return the routes. A list that is asked for ids gives those and heeds no other filter, as on the platform."""
    api = Blueprint("directory", __name__, url_prefix="/api/v2")
    _add_flows(api, directory, tokens, page_size)
    _add_routing(api, directory, tokens, page_size)

    @api.get("/organizations/me")
    def organization() -> Response:
        tokens.require()
        more = {"defaultLanguage": "en-us", "defaultCountryCode": "US", "domain": "example-retail", "state": "active"}
        return jsonify(ORGANIZATION | more | {"productPlatform": "GenesysCloud", "selfUri": "/api/v2/organizations/me"})

    @api.get("/tokens/me")
    def token() -> Response:
        tokens.require()
        asking = {"id": client.client_id, "name": client.client_id, "organization": ORGANIZATION}
        return jsonify(organization=ORGANIZATION, homeOrganization=ORGANIZATION, authorizedScope=[], OAuthClient=asking)

    return api


def _add_flows(api: Blueprint, directory: Directory, tokens: Tokens, page_size: int) -> None:
    @api.get("/flows/<flow_id>")
    def flow(flow_id: str) -> Response:
        tokens.require(FLOW)
        return jsonify(directory.get(Flow, flow_id).as_object())

    @api.get("/flows")
    def flows() -> Response:
        tokens.require(FLOW)
        kinds = [kind.upper() for kind in asked_ids("type")]
        known = [flow for flow in directory.all(Flow) if not kinds or flow.type in kinds]
        return _listed(directory.all(Flow) if asked_ids() else known, page_size)

    @api.get("/flows/outcomes")
    def outcomes() -> Response:
        tokens.require(OUTCOME)
        return _listed(directory.all(Outcome), page_size)


def _add_routing(api: Blueprint, directory: Directory, tokens: Tokens, page_size: int) -> None:
    @api.get("/routing/wrapupcodes")
    def codes() -> Response:
        tokens.require(CODE)
        return _listed(directory.all(WrapupCode), page_size)

    @api.get("/routing/wrapupcodes/<code_id>")
    def code(code_id: str) -> Response:
        tokens.require(CODE)
        return jsonify(directory.get(WrapupCode, code_id).as_object())

    @api.get("/routing/queues")
    def queues() -> Response:
        tokens.require(QUEUE)
        return _listed(directory.all(Queue), page_size)

    @api.get("/routing/queues/<queue_id>/wrapupcodes")
    def codes_of_queue(queue_id: str) -> Response:
        tokens.require(QUEUE)
        chosen = directory.get(Queue, queue_id).wrapup_codes
        return _listed([code for code in directory.all(WrapupCode) if chosen is None or code.id in chosen], page_size)


def _listed(entries: Sequence[Entry], page_size: int) -> Response:
    wanted = asked_ids()
    if wanted:
        found = [entry for entry in entries if entry.id in wanted]
    else:
        found = [entry for entry in entries if not (isinstance(entry, Flow) and entry.deleted)]
    page, around = by_number(found, usual=page_size)
    return jsonify({"entities": [entry.as_object() for entry in page]} | around)
