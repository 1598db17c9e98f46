"""The adapter `sql`: it promises everything, and so is the one that others are measured by."""

import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, ClassVar, Self

import sqlalchemy as sa
from pydantic import AfterValidator, Field, PositiveInt, SecretStr

from crm_sync import clock
from crm_sync.adapters.contract import (
    API_VERSION,
    Capabilities,
    Finding,
    MappedField,
    Match,
    Outcome,
    PersonHint,
    Prepared,
    Push,
    Receipt,
)
from crm_sync.adapters.sql import engines, tables
from crm_sync.adapters.sql.faults import ERRORS, fault_of
from crm_sync.adapters.sql.upserts import statement, upsert
from crm_sync.adapters.values import Options, clean_record, parse, to_json
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, failure


def _understood(url: SecretStr) -> SecretStr:
    return SecretStr(engines.parse_url(url.get_secret_value()).render_as_string(hide_password=False))


Name = Annotated[str, Field(min_length=1, max_length=63)]


class SQLOptions(Options):
    """The settings of the adapter `sql`. With `create_table` the first push creates a table that is missing."""

    url: Annotated[SecretStr, AfterValidator(_understood)]
    table: Name
    table_schema: Name | None = None
    key_column: Name = "conversation_id"
    version_column: Name = "version"
    create_table: bool = False
    max_batch: PositiveInt = 50


class SQLAdapter:
    """Upserts a batch in one transaction. A record that the database refuses takes its whole batch back with it."""

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str] = "sql"
    settings: ClassVar[Mapping[str, JSON]] = SQLOptions.model_json_schema()

    def __init__(self, options: SQLOptions, *, fields: Sequence[MappedField], worker_deadline_seconds: float) -> None:
        self.capabilities = Capabilities(
            native_upsert=True,
            optimistic_lock=True,
            idempotency="key",
            max_batch=options.max_batch,
            batch_atomic=True,
            ordered_per_key=True,
            dry_run="local",
            can_delete=True,
        )
        self._options = options
        self._fields = tuple(fields)
        self._deadline_seconds = worker_deadline_seconds
        url = engines.parse_url(options.url.get_secret_value())
        self._engine = engines.create(url, deadline_seconds=worker_deadline_seconds)
        self._table: sa.Table | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_options(
        cls, options: Mapping[str, JSON], *, fields: Sequence[MappedField], worker_deadline_seconds: float
    ) -> Self:
        """Return the adapter, without connecting."""
        return cls(parse(SQLOptions, options), fields=fields, worker_deadline_seconds=worker_deadline_seconds)

    def check(self) -> list[Finding]:
        """Return what keeps the table from being written to."""
        try:
            with self._transaction() as connection:
                table = self._reflected(connection)
                return tables.findings(connection, table, key=self._options.key_column, written=self._written())
        except AdapterFailure as problem:
            fault = problem.fault
        remedy = "create it by hand, or with `crm-sync target check --create`"
        return [
            Finding(
                what=fault.message,
                where=fault.field or self._options.table,
                remedy=remedy if fault.code == tables.NO_TABLE else "see to the database, then check again",
                is_fatal=not (fault.code == tables.NO_TABLE and self._options.create_table),
            )
        ]

    def create_table(self) -> None:
        """Create the table with a column for every mapped field; one that exists stays as it is.

        Raises AdapterFailure.
        """
        planned = tables.planned(
            self._options.table,
            schema=self._options.table_schema,
            key=self._options.key_column,
            version=self._options.version_column,
            fields=self._fields,
        )
        try:
            with self._transaction() as connection:
                connection.execute(sa.schema.CreateTable(planned, if_not_exists=True))
        except AdapterFailure:
            # Two workers may have come at once; whoever came second finds what the first has made.
            with self._transaction() as connection:
                if not sa.inspect(connection).has_table(planned.name, schema=planned.schema):
                    raise

    def find_person(self, hint: PersonHint) -> list[Match]:
        """Return nobody: a table of conversations knows no persons."""
        return []

    def prepare(self, push: Push) -> Prepared:
        """Return the row, by column; key and version are always in it."""
        return Prepared(
            conversation_id=push.conversation_id,
            push_key=push.push_key,
            version=push.version,
            record={
                **clean_record(push.due_fields),
                self._options.key_column: push.conversation_id,
                self._options.version_column: push.version,
            },
            known_id=push.known_id,
        )

    def render(self, batch: Sequence[Prepared]) -> str:
        """Return the statements with their values, as they run in one transaction."""
        return "\n\n".join(self._rendered(entry) for entry in batch)

    def push(self, batch: Sequence[Prepared]) -> list[Receipt]:
        """Write all entries or none. When one is refused every receipt carries its fault, with the column if known."""
        # In the order of their keys, so that two workers never wait for each other crosswise.
        order = sorted(range(len(batch)), key=lambda index: (batch[index].conversation_id, batch[index].version))
        deadline = clock.monotonic() + self._deadline_seconds
        outcomes: dict[int, Outcome] = {}
        try:
            table = self._ready_table()
            with self._transaction(columns=table.c.keys()) as connection:
                for index in order:
                    if clock.monotonic() > deadline:
                        raise failure(_OUT_OF_TIME)
                    row = tables.converted(table, batch[index].record)
                    outcomes[index] = upsert(connection, table, row, **self._columns())
        except AdapterFailure as problem:
            if problem.fault.kind is Kind.CONFIG:
                self._table = None  # It may be mended by the next time.
            if problem.fault.kind is not Kind.DATA:
                raise
            return [Receipt(push_key=entry.push_key, outcome=Outcome.FAILED, fault=problem.fault) for entry in batch]
        return [
            Receipt(push_key=entry.push_key, outcome=outcomes[index], record_id=entry.conversation_id)
            for index, entry in enumerate(batch)
        ]

    def delete(self, record_id: str) -> None:
        """Erase the row of a conversation."""
        table = self._ready_table()
        with self._transaction() as connection:
            connection.execute(sa.delete(table).where(table.c[self._options.key_column] == record_id))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, columns: Container[str] = ()) -> Iterator[sa.Connection]:
        """Give a connection in a transaction; what goes wrong with the database comes out as an AdapterFailure."""
        is_connected = False
        try:
            with self._engine.connect() as connection:
                is_connected = True
                with connection.begin():
                    yield connection
            return
        except ERRORS as error:
            fault = fault_of(error, is_connected=is_connected, columns=columns)
        # Without the cause: the databases quote the values that they refuse.
        raise failure(fault) from None

    def _ready_table(self) -> sa.Table:
        with self._lock:
            if self._table is None:
                self._table = self._found_or_created()
            return self._table

    def _found_or_created(self) -> sa.Table:
        try:
            with self._transaction() as connection:
                return self._reflected(connection)
        except AdapterFailure as problem:
            if problem.fault.code != tables.NO_TABLE or not self._options.create_table:
                raise
        self.create_table()
        with self._transaction() as connection:
            return self._reflected(connection)

    def _reflected(self, connection: sa.Connection) -> sa.Table:
        return tables.reflected(connection, self._options.table, schema=self._options.table_schema, **self._columns())

    def _columns(self) -> dict[str, str]:
        return {"key": self._options.key_column, "version": self._options.version_column}

    def _written(self) -> set[str]:
        return {*self._columns().values(), *(field.name for field in self._fields)}

    def _rendered(self, entry: Prepared) -> str:
        table = sa.table(
            self._options.table, *(sa.column(name) for name in entry.record), schema=self._options.table_schema
        )
        dialect = self._engine.dialect
        text = str(statement(dialect.name, table, entry.record, **self._columns()).compile(dialect=dialect))
        return f"{text}\n-- {to_json(entry.record)}"


_OUT_OF_TIME = Fault(kind=Kind.RETRYABLE, code="out_of_time", message="The batch took too long and was taken back.")
