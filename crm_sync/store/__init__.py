"""What crm-sync remembers, in SQL: events, closures, what is owed to each target, and the service's own state."""
