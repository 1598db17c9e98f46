"""The platform's analytics calls beside the query: details of one, of some, and jobs."""

from flask import Blueprint, Response, jsonify, request

from crm_sync import clock
from crm_sync.sandbox.analytics_records import record_of
from crm_sync.sandbox.bodies import json_body
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.platform import Platform
from crm_sync.sandbox.problems import Problem

DETAILS = "analytics:conversationDetail:view"


def blueprint(platform: Platform, tokens: Tokens) -> Blueprint:
    """Return the routes under `/api/v2/analytics/conversations`, all for one permission."""
    api = Blueprint("platform", __name__, url_prefix="/api/v2/analytics/conversations")
    api.before_request(lambda: tokens.require(DETAILS))
    _add_details(api, platform)
    _add_jobs(api, platform)
    return api


def _add_details(api: Blueprint, platform: Platform) -> None:
    @api.get("/<conversation_id>/details")
    def one(conversation_id: str) -> Response:
        found = platform.conversations.find(conversation_id)
        if found is None:
            raise Problem(404, "There is no such conversation.")
        return jsonify(record_of(found))

    @api.get("/details")
    def some() -> Response:
        ids = [one for one in request.args.get("id", "").split(",") if one]
        most = platform.options.ids_at_once
        if not 1 <= len(ids) <= most:
            reason = f"The parameter id must name 1 to {most} conversations."
            raise Problem(400, reason, code="invalid.value", params={"field": "id"})
        found = (platform.conversations.find(one) for one in dict.fromkeys(ids))
        return jsonify(conversations=[record_of(one) for one in found if one is not None])


def _add_jobs(api: Blueprint, platform: Platform) -> None:
    @api.post("/details/jobs")
    def submit() -> tuple[Response, int]:
        return jsonify(jobId=platform.jobs.submit(json_body()).id), 202

    @api.get("/details/jobs/availability")
    def availability() -> Response:
        return jsonify(dataAvailabilityDate=clock.to_text(platform.jobs.available_until()))

    @api.get("/details/jobs/<job_id>")
    def poll(job_id: str) -> Response:
        return jsonify(platform.jobs.poll(job_id))

    @api.get("/details/jobs/<job_id>/results")
    def results(job_id: str) -> Response:
        most = platform.options.max_job_page_size
        size = request.args.get("pageSize", str(most))
        if not (size.isascii() and size.isdigit() and 1 <= int(size) <= most):
            reason = f"The pageSize must be 1 to {most}."
            raise Problem(400, reason, code="invalid.value", params={"field": "pageSize"})
        return jsonify(platform.jobs.results(job_id, size=int(size), cursor=request.args.get("cursor")))

    @api.delete("/details/jobs/<job_id>")
    def remove(job_id: str) -> tuple[str, int]:
        platform.jobs.remove(job_id)
        return "", 204
