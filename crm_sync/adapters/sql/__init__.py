"""The reference adapter: a table in the customer's own SQLite, PostgreSQL, MariaDB or MySQL database."""

from crm_sync.adapters.sql.adapter import SQLAdapter, SQLOptions

__all__ = ["SQLAdapter", "SQLOptions"]
