"""Carries the closure and the resolution of every Genesys Cloud conversation to your CRMs."""

__version__ = "0.1.0"
