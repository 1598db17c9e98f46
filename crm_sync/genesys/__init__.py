"""The source: all that knows how Genesys Cloud looks, both what it sends us and what we ask of it."""
