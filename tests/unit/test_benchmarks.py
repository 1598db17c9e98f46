"""The pure parts of the benchmarks: what is told of a measurement, and when it is refused."""

from typing import Any

import pytest

from benchmarks import drain, ingest, wrk
from benchmarks.results import Measured, Wrong, as_table

FIGURES = '{"answers": 900, "refused": 0, "broken": 0, "seconds": 3.0, "p50_ms": 21.5, "p99_ms": 40.0}'
KEPT = {"events": 910, "closures": 910, "deliveries": 1820}


def test_the_ratio_is_the_median_so_that_one_disturbed_repetition_changes_nothing() -> None:
    measured = Measured(what="ingest", engine="SQLite", ours=[50, 60, 5], yardsticks=[100, 100, 100])

    assert measured.ratio == 0.5


def test_each_measurement_is_compared_with_the_yardstick_taken_beside_it() -> None:
    measured = Measured(what="ingest", engine="SQLite", ours=[50, 25], yardsticks=[100, 50])

    assert measured.ratios == [0.5, 0.5]


def test_the_record_tells_the_rates_the_ratio_and_what_stands_beside() -> None:
    measured = Measured(what="ingest", engine="SQLite", ours=[2], yardsticks=[3], beside={"p50 ms": 1.239})

    assert measured.as_record() == {
        "what": "ingest",
        "engine": "SQLite",
        "ratio": 0.667,
        "ratios": [0.667],
        "ours_per_second": 2,
        "yardstick_per_second": 3,
        "beside": {"p50 ms": 1.24},
    }


def test_the_columns_of_the_table_stand_below_their_headings() -> None:
    measured = [
        Measured(what="ingest", engine="PostgreSQL", ours=[1500], yardsticks=[3000], beside={"p50 ms": 20}),
        Measured(what="claim and settle", engine="SQLite", ours=[9], yardsticks=[10]),
    ]

    headings, _line, first, second = as_table(measured).splitlines()
    places = [headings.index(heading) for heading in ("engine", "ours", "yardstick", "ratio", "lowest", "beside")]

    assert [first[place:].split("  ")[0] for place in places] == [
        "PostgreSQL", "1,500/s", "3,000/s", "0.50", "0.50 to 0.50", "p50 ms 20.0",
    ]  # fmt: skip
    assert [second[place:].split("  ")[0] for place in places[:4]] == ["SQLite", "9/s", "10/s", "0.90"]


def test_the_figures_are_the_last_line_of_what_wrk_writes() -> None:
    load = wrk.parse(f"Running 3s test\n  Requests/sec: 1\n\n{FIGURES}\n")

    assert load is not None
    assert load.per_second == 300


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_without_figures_there_is_no_load(output: str) -> None:
    assert wrk.parse(output) is None


def test_a_missing_wrk_is_told_in_one_sentence_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(Wrong, match="wrk, the load generator, is not installed: install the package wrk"):
        wrk.find()


def test_events_that_were_on_their_way_at_the_end_may_be_stored_too() -> None:
    ingest.verify("SQLite", KEPT, acknowledged=900, on_their_way=64)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (KEPT | {"events": 899}, "900 events were acknowledged, and 899 are stored"),
        (KEPT | {"events": 965}, "900 events were acknowledged, and 965 are stored"),
        (KEPT | {"closures": 909}, "910 events left 909 closures and 1820 deliveries"),
        (KEPT | {"deliveries": 1819}, "910 events left 910 closures and 1819 deliveries"),
    ],
)
def test_an_ingest_that_lost_something_is_refused(found: dict[str, int], reason: str) -> None:
    with pytest.raises(Wrong, match=reason):
        ingest.verify("SQLite", found, acknowledged=900, on_their_way=64)


def _pushes(**changed: Any) -> dict[str, Any]:
    return {"counts": {"one.7.hash": 1, "two.8.hash": 1}, "seconds": 1.0, "most_at_once": 8} | changed


@pytest.fixture
def _two_closures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "CLOSURES", 2)


@pytest.mark.usefixtures("_two_closures")
def test_a_drain_in_which_each_closure_arrived_once_is_accepted() -> None:
    drain.verify("SQLite", _pushes(), {"one.7", "two.8"})


@pytest.mark.usefixtures("_two_closures")
@pytest.mark.parametrize(
    ("pushes", "delivered", "reason"),
    [
        (_pushes(), {"one.7"}, "of 2 closures 1 are delivered; 2 arrived"),
        (_pushes(counts={"one.7.hash": 1}), {"one.7", "two.8"}, "2 are delivered; 1 arrived"),
        (_pushes(counts={"one.7.hash": 2, "two.8.hash": 1}), {"one.7", "two.8"}, "1 of them more than once"),
        (_pushes(counts={"one.7.hash": 1, "two.9.hash": 1}), {"one.7", "two.8"}, "2 are delivered; 2 arrived"),
        (_pushes(most_at_once=9), {"one.7", "two.8"}, "9 pushes came at the same time"),
    ],
)
def test_a_drain_that_lost_or_repeated_something_is_refused(
    pushes: dict[str, Any], delivered: set[str], reason: str
) -> None:
    with pytest.raises(Wrong, match=reason):
        drain.verify("SQLite", pushes, delivered)
