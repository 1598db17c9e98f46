"""What answers over HTTP beside the webhook: the API, health, and later the pages."""
