"""The summary of many holders is that of their pooled tables; no measure is believed blindly."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotta_p2p.federated.pooled import pooled_summary
from flotta_p2p.federated.summary import measure, merge, prepare
from flotta_p2p.tables.shares import penguin_shares
from protocol.columns import ColumnRules
from protocol.errors import Code, DataError, FlottaError, WorkflowError
from protocol.plan.artifact import Artifact
from protocol.plan.tasks import Cells, ColumnMeasure, DisclosureRules, Measure, SourceFile
from protocol.wire.codec import decode_record, encode_record
from tests.flotta_p2p.federated.helpers import OPEN_RULES, artifact_of, csv_text, federated_summary, source_of

ALL = "count,mean,variance,histogram"


def sources_of(folder: Path, shares: dict[str, str], rules: DisclosureRules) -> list[tuple[str, SourceFile]]:
    return [(name, source_of(folder, text, name=name, rules=rules)) for name, text in shares.items()]


# --- against the pooled truth -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "bins", "where"),
    [
        ("bill_length_mm,body_mass_g", ["body_mass_g:2500:6500:20", "bill_length_mm:30:60:6"], ""),
        ("flipper_length_mm", ["flipper_length_mm:170:230:60"], "species == 'Gentoo' or sex == 'female'"),
        ("bill_depth_mm", ["bill_depth_mm:0:1:1"], "not (sex is None) and year in [2007, 2009]"),
        ("bill_depth_mm", ["bill_depth_mm:13.1:21.5:7"], "island == 'Dream'"),
        ("bill_depth_mm", ["bill_depth_mm:13.1:21.5:7"], "island == 'Atlantis'"),
    ],
)
def test_penguins_of_three_holders_give_the_pooled_truth(
    tmp_path: Path, columns: str, bins: list[str], where: str
) -> None:
    sources = sources_of(tmp_path, penguin_shares(), DisclosureRules())
    artifact = artifact_of(columns, ALL, *bins, where=where)
    assert federated_summary(artifact, sources) == pooled_summary(artifact, sources)


def test_the_penguins_are_those_that_were_published(tmp_path: Path) -> None:
    """Means and standard deviations as `summary(penguins)` and `sd` give them in R."""
    shares = penguin_shares()
    assert {name: text.count("\n") - 1 for name, text in shares.items()} == {
        "Biscoe": 168,
        "Dream": 124,
        "Torgersen": 52,
    }
    artifact = artifact_of("bill_length_mm,body_mass_g", "mean,variance")
    found = federated_summary(artifact, sources_of(tmp_path, shares, OPEN_RULES)).columns
    bill, mass = found["bill_length_mm"], found["body_mass_g"]
    assert (bill.present, bill.missing, mass.present, mass.missing) == (342, 2, 342, 2)
    assert bill.mean == pytest.approx(43.92193, abs=5e-6)
    assert bill.variance == pytest.approx(5.459584**2, rel=1e-6)
    assert mass.mean == pytest.approx(4201.754386, abs=5e-7)
    assert mass.variance == pytest.approx(801.954536**2, rel=1e-8)


cell = st.one_of(
    st.just("NA"),
    st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-140).map(repr),
    st.integers(0, 10).map(str),
)


@settings(max_examples=60)
@given(
    shares=st.lists(st.lists(st.tuples(cell, cell), max_size=30), min_size=1, max_size=4),
    cohort=st.integers(1, 8),
    minimum_cell=st.integers(1, 6),
)
def test_any_shares_give_the_pooled_truth(
    tmp_path_factory: pytest.TempPathFactory,
    shares: list[list[tuple[str, str]]],
    cohort: int,
    minimum_cell: int,
) -> None:
    rules = DisclosureRules(minimum_cohort=cohort, minimum_cell=minimum_cell)
    texts = {f"s{at}": csv_text(("a", "b"), rows) for at, rows in enumerate(shares)}
    sources = sources_of(tmp_path_factory.mktemp("shares"), texts, rules)
    artifact = artifact_of("a,b", ALL, "a:0:10:5", "b:-100:100:3", where="a is None or a > -500")
    assert federated_summary(artifact, sources) == pooled_summary(artifact, sources)


def test_the_split_of_the_rows_and_the_order_of_holders_change_no_bit(tmp_path: Path) -> None:
    chance = random.Random(5)
    rows = [(1e9 + chance.gauss(0, 1), chance.expovariate(1e-6)) for _ in range(300)]
    artifact = artifact_of("a,b", "count,mean,variance")
    found = []
    for parts in (1, 2, 3, 7):
        chance.shuffle(rows)
        texts = {f"{parts}-{at}": csv_text(("a", "b"), rows[at::parts]) for at in range(parts)}
        sources = sources_of(tmp_path, texts, OPEN_RULES)
        chance.shuffle(sources)
        found.append(
            encode_record(msgspec.structs.replace(federated_summary(artifact, sources).columns["a"], sources=0))
        )
    assert len(set(found)) == 1


# --- what is counted ----------------------------------------------------------------------------


def test_missing_values_are_in_no_denominator(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age\n10\nNA\n20\n\n".replace("\n\n", "\n"))
    column = federated_summary(artifact_of("age", "mean,variance"), [("a", source)]).columns["age"]
    assert (column.present, column.missing, column.mean, column.variance) == (2, 1, 15.0, 50.0)


def test_a_text_column_is_counted_and_its_mean_is_refused_by_name(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age,sex,smoker\n10,f,true\n20,NA,false\n")
    column = federated_summary(artifact_of("sex,age", "count"), [("a", source)]).columns["sex"]
    assert (column.present, column.missing, column.mean) == (1, 1, None)
    for artifact in (artifact_of("sex,age", "mean"), artifact_of("sex,age", "histogram", "sex:0:1:2")):
        with pytest.raises(DataError) as caught:
            federated_summary(artifact, [("a", source)])
        assert caught.value.code == Code.COLUMN_NOT_NUMERIC
        assert '"sex"' in caught.value.sentence
        assert "numeric columns are age;" in caught.value.next_step


def test_a_fault_names_no_column_that_the_holder_keeps_closed(tmp_path: Path) -> None:
    rules = DisclosureRules(minimum_cohort=1, minimum_cell=1, columns=ColumnRules(columns=frozenset({"sex", "absent"})))
    source = source_of(tmp_path, "age,sex,hiv_status\n10,f,true\n20,NA,false\n", rules=rules)
    for column, statistic in (("sex", "mean"), ("absent", "count"), ("hiv_statu", "count")):
        with pytest.raises(DataError) as caught:
            federated_summary(artifact_of(column, statistic), [("a", source)])
        assert "hiv_status" not in str(caught.value) and "age" not in caught.value.next_step
    assert decode_record(encode_record(source), SourceFile, bytes_max=1_000) == source


def test_two_sources_of_one_machine_are_counted_once_each(tmp_path: Path) -> None:
    texts = {"first": "age\n1\n2\n", "second": "age\n3\n"}
    sources = [(f"node-a/{label}", source) for label, source in sources_of(tmp_path, texts, OPEN_RULES)]
    artifact = artifact_of("age", "mean")
    summary = federated_summary(artifact, sources)
    assert (summary.rows, summary.columns["age"].mean, summary.coverage.sources_counted) == (3, 2.0, 2)
    with pytest.raises(DataError, match="came twice"):
        federated_summary(artifact, [sources[0], sources[0]])


def test_an_inner_edge_belongs_to_the_upper_bin_and_the_upper_end_to_the_last(tmp_path: Path) -> None:
    source = source_of(tmp_path, "x\n-0.1\n-0.0\n0\n1\n1.5\n2\n3\n3.0001\nNA\n")
    histogram = federated_summary(artifact_of("x", "histogram", "x:0:3:3"), [("a", source)]).columns["x"].histogram
    assert histogram is not None
    assert (histogram.below, histogram.counts, histogram.above) == (1, (2, 2, 2), 1)
    assert histogram.edges == (0.0, 1.0, 2.0, 3.0)


def test_the_edges_of_bins_are_exact_and_rounded_once() -> None:
    edges = prepare(artifact_of("x", "histogram", "x:0:1:10")).edges["x"]
    assert edges == tuple(at / 10 for at in range(11))
    with pytest.raises(WorkflowError) as caught:
        prepare(artifact_of("x", "histogram", "x:1:1.0000000000000004:10"))
    assert caught.value.code == Code.PARAMETER_WRONG


@pytest.mark.parametrize(("value", "statistics", "refused"), [
    ("1e141", "mean", True), ("1e140", "mean", False), ("1e-200", "mean", False),
    ("1e-200", "variance", True), ("0", "variance", False), ("1e141", "count", False),
])  # fmt: skip
def test_values_that_cannot_be_summed_exactly_are_refused(
    tmp_path: Path, value: str, statistics: str, refused: bool
) -> None:
    source = source_of(tmp_path, f"x\n{value}\n1\n")
    artifact = artifact_of("x", statistics)
    if not refused:
        assert federated_summary(artifact, [("a", source)]) == pooled_summary(artifact, [("a", source)])
        return
    with pytest.raises(DataError) as caught:
        federated_summary(artifact, [("a", source)])
    assert caught.value.code == Code.VALUE_OUT_OF_RANGE


# --- what is withheld ---------------------------------------------------------------------------


def test_a_small_cohort_keeps_everything_back_and_says_so(tmp_path: Path) -> None:
    rules = DisclosureRules(minimum_cohort=3, minimum_cell=1)
    texts = {"large": "x,y\n1,1\n2,NA\n3,3\n", "small": "x,y\n5,5\n1e300,6\n"}
    summary = federated_summary(artifact_of("x,y", "mean", where="x > 0"), sources_of(tmp_path, texts, rules))
    large, small = summary.coverage.by_source
    assert (summary.rows, summary.columns["x"].mean, summary.columns["x"].sources) == (3, 2.0, 1)
    assert (large.rows, large.columns_withheld, large.withheld) == (3, ("y",), "")
    assert (small.rows, small.withheld) == (None, "fewer than 3 rows are selected")
    assert (summary.columns["y"].present, summary.columns["y"].mean) == (0, None)


def test_a_result_of_no_holder_is_empty_and_says_why(tmp_path: Path) -> None:
    source = source_of(tmp_path, "x\n", rules=DisclosureRules())
    summary = federated_summary(artifact_of("x", ALL, "x:0:1:2"), [("a", source)])
    assert (summary.rows, summary.coverage.sources, summary.coverage.sources_counted) == (0, 1, 0)
    assert summary.columns["x"].histogram is None


def test_small_cells_are_withheld_counted_and_missing_in_the_histogram(tmp_path: Path) -> None:
    rows = [("0.5",)] * 2 + [("1.5",)] * 7 + [("2.5",)] * 20
    source = source_of(tmp_path, csv_text(("x",), rows), rules=DisclosureRules())
    artifact = artifact_of("x", ALL, "x:0:3:3")
    measured = measure(artifact, source, prepare(artifact)).columns["x"]
    assert measured is not None
    assert measured.cells == Cells(counts=(None, None, 20), below=0, above=0)
    summary = merge(artifact, [("a", Measure(rows=29, columns={"x": measured}))])
    histogram = summary.columns["x"].histogram
    assert histogram is not None
    assert (histogram.counts, histogram.cells_withheld, summary.coverage.cells_withheld) == ((0, 0, 20), 2, 2)


# --- what is not believed -----------------------------------------------------------------------


def test_settings_that_are_not_those_of_the_artifact_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "x\n1\n")
    artifact = artifact_of("x", ALL, "x:0:3:3")
    altered = msgspec.structs.replace(prepare(artifact), edges={"x": (0.0, 1.0, 2.0, 2.5)})
    with pytest.raises(FlottaError) as caught:
        measure(artifact, source, altered)
    assert caught.value.code == Code.RESULT_ALTERED


def _artifact() -> Artifact:
    return artifact_of("x", ALL, "x:0:2:2")


def _column(**changed: Any) -> ColumnMeasure:
    sound = ColumnMeasure(
        present=3, missing=1, total=(3.0,), squares=(5.0,), cells=Cells(counts=(1, 2), below=0, above=0)
    )
    return msgspec.structs.replace(sound, **changed)


def _measure(**changed: Any) -> Measure:
    return Measure(rows=4, columns={"x": _column(**changed)})


def test_a_sound_measure_is_merged() -> None:
    assert merge(_artifact(), [("b", _measure())]).columns["x"].mean == 1.0


@pytest.mark.parametrize(
    "measure",
    [
        Measure(rows=-1, columns={"x": None}),
        Measure(rows=4, columns={}),
        Measure(rows=4, columns={"x": None, "y": None}),
        Measure(rows=4, columns={"x": None}, withheld="why"),
        Measure(rows=None, columns={}),
        Measure(rows=None, columns={"x": None}, withheld="why"),
        Measure(rows=None, columns={}, withheld="a\x1b[2J"),
        Measure(rows=None, columns={}, withheld="w" * 201),
        _measure(present=-1, missing=5),
        _measure(present=4),
        _measure(total=None),
        _measure(squares=None),
        _measure(cells=None),
        _measure(total=(float("nan"),)),
        _measure(squares=(float("inf"),)),
        _measure(total=(1.0,) * 41),
        _measure(total=(1e200,), squares=(1e308,)),
        _measure(total=(-4.0,)),
        _measure(squares=(-5.0,)),
        _measure(squares=(1.7e308, 1.7e308)),
        _measure(present=0, missing=4, total=(), squares=(5.0,), cells=Cells(counts=(0, 0), below=0, above=0)),
        _measure(cells=Cells(counts=(1, 2, 0), below=0, above=0)),
        _measure(cells=Cells(counts=(1, 3), below=0, above=0)),
        _measure(cells=Cells(counts=(1, 1), below=0, above=0)),
        _measure(cells=Cells(counts=(None, 4), below=0, above=0)),
        _measure(cells=Cells(counts=(None, None), below=-1, above=0)),
    ],
)
def test_a_measure_that_makes_no_sense_is_refused_naming_the_holder(measure: Measure) -> None:
    measure = decode_record(encode_record(measure), Measure, bytes_max=10_000)
    with pytest.raises(DataError) as caught:
        merge(_artifact(), [("good", _measure()), ("node-b/bad", measure)])
    assert caught.value.code == Code.RESULT_ALTERED
    assert "node-b/bad" in caught.value.sentence


def test_preparing_and_merging_load_no_polars() -> None:
    program = "import sys, flotta_p2p.federated.child; sys.exit('polars' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
