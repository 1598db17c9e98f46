"""The `sql` adapter on tables that customers really have."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from crm_sync.adapters import mapping
from crm_sync.adapters.contract import Finding, Outcome
from crm_sync.adapters.sql import SQLAdapter
from crm_sync.closure import JSON, Closure
from crm_sync.errors import Kind
from crm_sync.settings_targets import FieldRule
from crm_sync.testing.core import make_push, push_once, settle
from tests.integration.adapters.tables import CUSTOMERS_OWN, OWN, Build, fault, outcome, rows, run


def test_a_created_table_has_a_fitting_type_for_each_field(engine: sa.Engine, build: Build) -> None:
    build().create_table()

    columns = {column["name"]: column["type"] for column in sa.inspect(engine).get_columns("closures")}
    assert {"conversation_id", "version", "agent_ids", "attributes"} <= set(columns)
    assert isinstance(columns["version"], sa.BigInteger)
    assert isinstance(columns["duration_ms"], sa.BigInteger)
    assert isinstance(columns["ended_at"], sa.DateTime)
    assert isinstance(columns["wrapup_notes"], sa.String)
    assert isinstance(columns["closed"], (sa.Boolean, sa.Integer))


def test_a_closure_of_which_hardly_anything_is_known_fits_the_created_table(engine: sa.Engine, build: Build) -> None:
    fields = mapping.apply({}, Closure(conversation_id="c-1").as_record())
    settled = settle(build(create_table=True), [make_push("c-1", 1, fields)])
    [row] = rows(engine, "closures")

    assert [receipt.fault for receipt in settled] == [None]
    assert {row[name] for name in ("started_at", "duration_ms", "wrapup_notes")} == {None}


def test_a_mapping_decides_the_columns_of_a_created_table(engine: sa.Engine, build: Build) -> None:
    rules: dict[str, Any] = {
        "Ended": {"from": "ended_at"},
        "Rank": {"from": "resolution", "map": {"resolved": 1}, "default": 0},
        "Origin": {"constant": "Genesys"},
        "Order": "attributes.orderId",
    }
    adapter = build(rules={name: FieldRule.model_validate(rule) for name, rule in rules.items()}, create_table=True)

    assert outcome(adapter, 1, Ended="2024-01-15T10:34:12.250Z", Rank=1, Origin="Genesys", Order=7) is Outcome.CREATED

    [row] = rows(engine, "closures")
    assert set(row) == {"conversation_id", "version", "Ended", "Rank", "Origin", "Order"}
    assert (row["Rank"], row["Origin"], row["Order"]) == (1, "Genesys", "7")


def test_creating_a_table_that_is_there_changes_nothing(engine: sa.Engine, build: Build) -> None:
    adapter = build(create_table=True)
    outcome(adapter, 1)

    adapter.create_table()

    assert len(rows(engine, "closures")) == 1


def test_workers_that_meet_on_a_missing_table_create_it_once(engine: sa.Engine, build: Build) -> None:
    adapters = [build(create_table=True) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda adapter: settle(adapter, [make_push("c-1", 1, {})])[0].fault, adapters))

    assert found == [None] * 4
    assert len(rows(engine, "closures")) == 1


def test_a_missing_table_is_a_matter_of_settings_until_it_is_there(build: Build) -> None:
    adapter = build()

    assert (fault(adapter).kind, fault(adapter).code) == (Kind.CONFIG, "no_such_table")
    adapter.create_table()
    assert outcome(adapter, 1) is Outcome.CREATED


def test_values_arrive_in_the_types_of_the_customers_table(engine: sa.Engine, calls: SQLAdapter) -> None:
    outcome(
        calls,
        7,
        closed=True,
        ended="2024-01-15T23:34:12.250-02:00",
        ended_on="2024-01-15T10:34:12.250Z",
        seconds="42",
        price=1.5,
        subject=["a", {"b": None}],
        owner=False,
    )

    [row] = rows(engine)
    assert (row["id"], row["state_no"], row["closed"], row["seconds"]) == ("c-1", 7, 1, 42)
    assert str(row["ended"]).startswith("2024-01-16 01:34:12")
    assert str(row["ended_on"]) == "2024-01-15"
    assert (float(row["price"]), row["subject"], row["owner"]) == (1.5, '["a",{"b":null}]', "false")


@pytest.mark.parametrize("customer_url", ["postgresql"], indirect=True)
def test_values_arrive_in_the_types_that_only_postgresql_has(engine: sa.Engine, build: Build) -> None:
    run(
        engine,
        "CREATE SCHEMA crm; CREATE TABLE crm.calls (id UUID PRIMARY KEY, state_no BIGINT, told JSONB, agents TEXT[], "
        "at TIMESTAMPTZ)",
    )
    adapter = build(**OWN, table_schema="crm")
    key = "c0ffee00-0000-4000-8000-000000000001"

    settle(adapter, [make_push(key, 1, {"told": "text", "agents": ["a"], "at": "2024-01-15T10:34:12.250Z"})])
    [receipt] = push_once(adapter, [adapter.prepare(make_push("no uuid", 1, {}))])

    [row] = rows(engine, "crm.calls")
    assert (str(row["id"]), row["told"], row["agents"]) == (key, "text", ["a"])
    assert row["at"] == datetime(2024, 1, 15, 10, 34, 12, 250000, tzinfo=UTC)
    assert receipt.fault and (receipt.fault.kind, receipt.fault.field) == (Kind.DATA, "id")


def test_a_field_that_is_not_sent_keeps_its_value(engine: sa.Engine, calls: SQLAdapter) -> None:
    outcome(calls, 1, owner="ann", subject="kept")
    outcome(calls, 2, owner="bob")

    [row] = rows(engine)
    assert (row["subject"], row["owner"], row["state_no"]) == ("kept", "bob", 2)


def test_a_row_of_before_without_a_version_is_taken_over(engine: sa.Engine, calls: SQLAdapter) -> None:
    run(engine, "INSERT INTO calls (id, owner) VALUES ('c-1', 'somebody')")

    assert outcome(calls, 1, owner="ann") is Outcome.UPDATED
    assert [(row["owner"], row["state_no"]) for row in rows(engine)] == [("ann", 1)]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"owner": "x" * 21}, "owner"),
        ({"owner": "x", "seconds": "many"}, "seconds"),
        ({"owner": "x", "seconds": 2**63}, "seconds"),
        ({"owner": "x", "closed": "perhaps"}, "closed"),
        ({"owner": "x", "ended": "yesterday"}, "ended"),
        ({"subject": "an owner is missing"}, "owner"),
    ],
)
def test_a_refused_value_names_its_column(
    engine: sa.Engine, calls: SQLAdapter, fields: dict[str, JSON], field: str
) -> None:
    found = fault(calls, **fields)

    assert (found.kind, found.field) == (Kind.DATA, field)
    assert rows(engine) == []


@pytest.mark.parametrize("customer_url", ["sqlite", "postgresql"], indirect=True)
def test_what_only_the_database_refuses_is_refused_without_its_words(engine: sa.Engine, calls: SQLAdapter) -> None:
    run(engine, "CREATE UNIQUE INDEX one_subject ON calls (subject)")
    run(engine, "INSERT INTO calls (id, subject, owner) VALUES ('c-0', 'column ''owner''', 'x')")

    found = fault(calls, owner="x", subject="column 'owner'")

    assert (found.kind, found.field) == (Kind.DATA, None)
    assert "owner" not in repr(found)


@pytest.mark.parametrize("customer_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize("price", ["column 'owner'", "Column 'owner' cannot be null", "1e99"])
def test_a_value_that_looks_like_a_message_blames_nobody_else(calls: SQLAdapter, price: str) -> None:
    found = fault(calls, owner="x", price=price)

    assert (found.kind, found.field) == (Kind.DATA, "price")


def test_a_refused_record_takes_its_batch_back(engine: sa.Engine, calls: SQLAdapter) -> None:
    good, bad = make_push("c-1", 1, {"owner": "x"}), make_push("c-2", 1, {"owner": "x" * 99})

    receipts = push_once(calls, [calls.prepare(good), calls.prepare(bad)])

    assert [receipt.fault and receipt.fault.kind for receipt in receipts] == [Kind.DATA, Kind.DATA]
    assert [receipt.push_key for receipt in receipts] == [good.push_key, bad.push_key]
    assert rows(engine) == []


def test_one_conversation_twice_in_a_batch_ends_with_the_newer(engine: sa.Engine, calls: SQLAdapter) -> None:
    new, old = make_push("c-1", 2, {"owner": "new"}), make_push("c-1", 1, {"owner": "old"})

    receipts = calls.push([calls.prepare(new), calls.prepare(old)])

    assert [receipt.outcome for receipt in receipts] == [Outcome.UPDATED, Outcome.CREATED]
    assert [row["owner"] for row in rows(engine)] == ["new"]


def test_batches_that_cross_do_not_lock_each_other_out(engine: sa.Engine, calls: SQLAdapter) -> None:
    pushes = [make_push(f"c-{number}", 1, {"owner": "x"}) for number in range(20)]
    batches = [pushes, pushes[::-1]] * 3

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda batch: settle(calls, batch), batches))

    assert {receipt.fault for receipts in found for receipt in receipts} == {None}
    assert len(rows(engine)) == 20


def test_a_batch_that_takes_too_long_is_taken_back(engine: sa.Engine, build: Build) -> None:
    run(engine, CUSTOMERS_OWN)
    adapter = build(**OWN, deadline=1)
    adapter._deadline_seconds = -1

    assert (fault(adapter, owner="x").kind, rows(engine)) == (Kind.RETRYABLE, [])


def test_a_column_that_is_missing_names_itself(build: Build, engine: sa.Engine, calls: SQLAdapter) -> None:
    found = fault(calls, owner="x", colour="red")

    assert (found.kind, found.field) == (Kind.CONFIG, "colour")
    run(engine, "ALTER TABLE calls ADD COLUMN colour VARCHAR(10)")
    assert outcome(calls, 1, owner="x", colour="red") is Outcome.CREATED


@pytest.mark.parametrize("customer_url", ["sqlite", "postgresql"], indirect=True)
def test_a_key_that_is_unique_for_some_rows_only_is_refused(engine: sa.Engine, build: Build) -> None:
    run(engine, CUSTOMERS_OWN.replace("UNIQUE", ""))
    run(engine, "CREATE UNIQUE INDEX some_ids ON calls (id) WHERE closed")

    assert fault(build(**OWN), owner="x").code == "no_unique_key"


def test_a_key_that_is_not_unique_is_refused_before_anything_doubles(engine: sa.Engine, build: Build) -> None:
    run(engine, CUSTOMERS_OWN.replace("UNIQUE", ""))

    found = fault(build(**OWN), owner="x")

    assert (found.kind, found.code, found.field) == (Kind.CONFIG, "no_unique_key", "id")
    assert rows(engine) == []


def test_a_check_finds_what_will_not_work(engine: sa.Engine, build: Build) -> None:
    run(engine, CUSTOMERS_OWN)
    rules = {"subject": FieldRule(source="wrapup_notes"), "colour": FieldRule(constant="red")}

    found = build(**OWN, rules=rules).check()

    assert [(finding.what, finding.where, finding.is_fatal) for finding in found] == [
        ("column is missing", "colour", True),
        ("column must have a value, and none is mapped", "owner", True),
    ]


def test_a_check_tells_of_a_missing_table_and_how_to_make_it(build: Build) -> None:
    [fatal] = build().check()
    [mended] = build(create_table=True).check()

    assert isinstance(fatal, Finding)
    assert (fatal.is_fatal, fatal.where, mended.is_fatal) == (True, "closures", False)
    assert "target check --create" in fatal.remedy


@pytest.mark.parametrize("customer_url", ["mariadb"], indirect=True)
def test_a_check_warns_of_a_second_unique_index_where_it_is_dangerous(engine: sa.Engine, build: Build) -> None:
    run(engine, CUSTOMERS_OWN)
    run(engine, "CREATE UNIQUE INDEX one_subject ON calls (subject)")

    found = build(**OWN, rules={"owner": FieldRule(constant="x")}).check()

    assert [(finding.where, finding.is_fatal) for finding in found] == [("subject", False)]


def test_a_preview_shows_statement_and_values(calls: SQLAdapter) -> None:
    text = calls.render([calls.prepare(make_push("c-1", 7, {"subject": "Hello"}))])

    assert text.startswith("INSERT INTO calls (subject, id, state_no) VALUES (")
    assert text.endswith('-- {"subject":"Hello","id":"c-1","state_no":7}')
