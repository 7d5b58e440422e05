"""Filters select as SQL does, and never compare what cannot be compared."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.federated.pooled import pooled_summary
from flotta_p2p.federated.selection import select_rows
from flotta_p2p.federated.table_file import open_table
from flotta_p2p.federated.tables import read_columns
from protocol.errors import Code, DataError
from protocol.plan.artifact import Query, summary_artifact
from protocol.plan.filters import AllOf, AnyOf, Compare, Filter, IsIn, IsNull, Not, parse_filter
from protocol.plan.operations import SummaryParameters
from tests.flotta_p2p.federated.helpers import PROJECT, artifact_of, federated_summary, source_of

TABLE = """row,age,sex,smoker,empty
1,40,f,true,
2,NA,m,false,
3,50,NA,true,
4,60,f,NA,
5,70.5,m,FALSE,
"""


def rows_where(folder: Path, where: str) -> int:
    source = source_of(folder, TABLE)
    return federated_summary(artifact_of("row", "count", where=where), [("a", source)]).rows


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("age >= 50", 3),
        ("age != 50", 3),
        ("not age == 50", 3),
        ("age is None", 1),
        ("age is not None", 4),
        ("sex == 'f' or age > 0", 4),
        ("sex == 'f' and smoker == True", 1),
        ("not (sex == 'f' and smoker == True)", 2),
        ("sex in ['f', 'x']", 2),
        ("sex not in ['f', 'x']", 2),
        ("age in [40, 70.5]", 2),
        ("smoker == False", 2),
        ("smoker in [True]", 2),
        ("sex < 'g'", 2),
        ("age == 70.5 and not (sex is None)", 1),
        ("empty == 3", 0),
        ("empty == 'x'", 0),
        ("not empty == 3", 0),
        ("empty is None or age == 1", 5),
        ("age < 1", 0),
    ],
)
def test_a_condition_on_a_missing_value_is_neither_true_nor_false(tmp_path: Path, where: str, rows: int) -> None:
    where_open = f"({where}) or row == -1"  # a selection of no rows is refused by any cohort
    assert rows_where(tmp_path, where_open if rows else where) == rows


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("age == 'old'", "numbers"),
        ("age == True", "numbers"),
        ("age in [1, 'old']", "numbers"),
        ("sex == 3", "text"),
        ("sex == True", "text"),
        ("smoker == 1", "true and false"),
        ("smoker == 'true'", "true and false"),
        ("smoker < True", "== and !="),
    ],
)
def test_comparing_different_types_is_a_fault(tmp_path: Path, where: str, says: str) -> None:
    table = open_table(source_of(tmp_path, TABLE))
    with pytest.raises(DataError) as caught:
        select_rows(read_columns(table, ["age", "sex", "smoker"]), parse_filter(where))
    assert (caught.value.code, says in caught.value.sentence) == (Code.FILTER_MALFORMED, True)


@pytest.mark.parametrize(
    "where", [Compare(column="age", relation="<", value=math.inf), IsIn(column="age", values=(40, math.nan))]
)
def test_comparing_with_what_is_no_finite_number_is_a_fault(tmp_path: Path, where: Compare | IsIn) -> None:
    """The text form cannot say it; a filter that was sent can."""
    table = open_table(source_of(tmp_path, TABLE))
    with pytest.raises(DataError, match="finite"):
        select_rows(read_columns(table, ["age"]), where)


def test_an_unknown_column_in_a_filter_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        rows_where(tmp_path, "agee > 3")
    assert (caught.value.code, caught.value.next_step) == (Code.COLUMN_UNKNOWN, "did you mean age?")


leaf = st.one_of(
    st.builds(
        Compare,
        column=st.sampled_from(["a", "b"]),
        relation=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        value=st.integers(0, 3) | st.sampled_from([0.5, -0.0]),
    ),
    st.builds(
        Compare,
        column=st.just("t"),
        relation=st.sampled_from(["==", "!=", "<", ">="]),
        value=st.text("xy", max_size=2),
    ),
    st.builds(Compare, column=st.just("z"), relation=st.sampled_from(["==", "!="]), value=st.booleans()),
    st.builds(IsIn, column=st.just("a"), values=st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)),
    st.builds(IsNull, column=st.sampled_from(["a", "b", "t", "z"])),
)
trees: st.SearchStrategy[Filter] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(Not, term=inner),
        st.builds(AllOf, terms=st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, terms=st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
ROWS = "a,b,t,z\n" + "".join(
    f"{a},{b},{t},{z}\n"
    for a in ("0", "2", "")
    for b in ("1", "-0")
    for t in ("x", "yx", "")
    for z in ("true", "false", "")
)


@given(trees)
def test_every_filter_selects_what_a_row_by_row_reading_selects(
    tmp_path_factory: pytest.TempPathFactory, where: Filter
) -> None:
    source = source_of(tmp_path_factory.mktemp("rows"), ROWS)
    query = Query(columns=("a", "b"), where=where)
    artifact = summary_artifact(PROJECT, query, SummaryParameters(statistics=("count", "mean")))
    assert federated_summary(artifact, [("s", source)]) == pooled_summary(artifact, [("s", source)])
