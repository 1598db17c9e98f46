"""The yardstick of the ingest: a Flask application that does nothing at the address where ours does its work."""

from flask import Flask

app = Flask(__name__)


@app.post("/webhooks/genesys")
def nothing() -> tuple[str, int]:
    """Answer as ours does when all is well."""
    return "", 202
