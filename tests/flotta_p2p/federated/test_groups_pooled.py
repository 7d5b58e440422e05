"""Groups of many holders are those of the pooled rows under the same rule, which this file states a second time.

The second statement is plain Python on rows: no Polars, no expansion, no function of the product.
"""

from __future__ import annotations

import random
import statistics as truth
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotta_p2p.tables.shares import penguin_shares
from protocol.plan.tasks import DisclosureRules, GroupedSummary, SourceFile
from protocol.wire.codec import encode_record
from tests.flotta_p2p.federated.helpers import (
    OPEN_RULES,
    csv_text,
    federated_groups,
    groups_of,
    quoted,
    source_of,
)

Cell = str | float | bool | None
Row = tuple[Cell, ...]  # keys, then values
Rows = list[Row]
KEYS, VALUES = ("sex", "stage"), ("a", "b")
HEADER = (*KEYS, *VALUES)


# --- the rule, a second time --------------------------------------------------------------------


def visible(rows: Rows, by: int, cohort: int, cell: int) -> tuple[dict[Row, Rows], int, set[int]] | None:
    """What one holder shows of its rows: the groups, how many it hides, and the columns that stay there; None: it
    shows nothing.
    """
    least = max(cohort, cell)
    if len(rows) < cohort:
        return None
    groups: dict[Row, Rows] = defaultdict(list)
    for row in rows:
        groups[row[:by]].append(row)
    hidden = {key for key, members in groups.items() if len(members) < least}
    others = [len(groups[key]) for key in groups if key not in hidden]
    if hidden and others:
        hidden |= {key for key in groups if len(groups[key]) == min(others)}
    if len(hidden) == len(groups):
        return None
    shown = {key: members for key, members in groups.items() if key not in hidden}
    together = [row for key in hidden for row in groups[key]]
    stay = set()
    for at in range(by, len(rows[0])):
        for part in (*shown.values(), together):
            missing = sum(row[at] is None for row in part)
            if 1 <= missing < cell or 1 <= len(part) - missing < least:
                stay.add(at)
    return shown, len(hidden), stay


def pooled(holders: Sequence[tuple[Rows, int, int]], by: int) -> tuple[list[Any], list[Any]]:
    """Key, rows, sources and columns of each group, by rising key; and what each holder lets out."""
    parts = [visible(rows, by, cohort, cell) for rows, cohort, cell in holders]
    keys = {key for part in parts if part is not None for key in part[0]}
    result = []
    for key in sorted(keys, key=lambda key: [(value is None, 0.0 if value is None else value) for value in key]):
        found = [part for part in parts if part is not None and key in part[0]]
        columns = []
        for at in range(by, len(HEADER) if by == 2 else by):
            cells = [row[at] for shown, _, stay in found if at not in stay for row in shown[key]]
            values = [Fraction(cell) for cell in cells if isinstance(cell, float)]
            mean = float(truth.mean(values)) if values else None
            variance = float(truth.variance(values)) if len(values) > 1 else None
            sources = sum(at not in stay for _, _, stay in found)
            columns.append((len(values), len(cells) - len(values), sources, mean, variance))
        result.append((key, sum(len(shown[key]) for shown, _, _ in found), len(found), columns))
    coverage = [
        None if part is None else (sum(map(len, part[0].values())), len(part[0]), part[1], sorted(part[2]))
        for part in parts
    ]
    return result, coverage


def as_told(result: GroupedSummary, by: int) -> tuple[list[Any], list[Any]]:
    groups = [
        (
            group.key,
            group.rows,
            group.sources,
            [(one.present, one.missing, one.sources, one.mean, one.variance) for one in group.columns.values()],
        )
        for group in result.groups
    ]
    coverage = [
        None
        if one.withheld
        else (one.rows, one.groups, one.groups_withheld, [by + VALUES.index(name) for name in one.columns_withheld])
        for one in result.coverage.by_source
    ]
    return groups, coverage


# --- any tables, any split ----------------------------------------------------------------------

sexes = st.sampled_from(["f", "m", "é", "e\u0301", "F", "(missing)", None])
stages = st.sampled_from([0.0, 1.0, 2.5, -3.0, None])
numbers = st.one_of(
    st.none(),
    st.integers(-3, 3).map(float),
    st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-140).map(lambda x: x + 0.0),
)
rows_of = st.lists(st.tuples(sexes, stages, numbers, numbers), max_size=40)
few_keys = st.lists(st.tuples(st.sampled_from(["f", "m"]), st.just(1.0), numbers, numbers), max_size=60)
words_of = {"missing": st.sampled_from(["", "NA", "null", "NaN"]), "zero": st.sampled_from(["0", "-0.0", "0.00"])}


def write(draw: Callable[[st.SearchStrategy[str]], str], cell: Cell) -> str:
    if cell is None:
        return draw(words_of["missing"])
    return draw(words_of["zero"]) if cell == 0.0 else str(cell)


def sources_of(
    folder: Path, holders: Sequence[tuple[Rows, int, int]], draw: Callable[[st.SearchStrategy[str]], str]
) -> list[tuple[str, SourceFile]]:
    sources = []
    for at, (rows, cohort, cell) in enumerate(holders):
        text = csv_text(HEADER, [[write(draw, one) for one in row] for row in rows])
        rules = DisclosureRules(minimum_cohort=cohort, minimum_cell=cell)
        # A text column of missing values alone would read as numbers, and quotes change the reader: both happen.
        sources.append((f"s{at}", source_of(folder, quoted(text) if at % 2 else text, name=f"s{at}", rules=rules)))
    return sources


@settings(max_examples=60)
@given(
    holders=st.lists(
        st.tuples(st.one_of(rows_of, few_keys), st.integers(1, 8), st.integers(1, 6)), min_size=1, max_size=5
    ),
    data=st.data(),
)
def test_any_holders_give_the_groups_of_the_pooled_rows_under_the_same_rule(
    tmp_path_factory: pytest.TempPathFactory, holders: list[tuple[Rows, int, int]], data: st.DataObject
) -> None:
    sources = sources_of(tmp_path_factory.mktemp("groups"), holders, data.draw)
    result = federated_groups(groups_of("sex,stage", "a,b", "count,mean,variance"), sources)
    assert as_told(result, 2) == pooled(holders, 2)
    assert result.rows == result.coverage.rows == sum(group.rows for group in result.groups)
    only = [(rows and [row[:1] for row in rows], cohort, cell) for rows, cohort, cell in holders]
    assert as_told(federated_groups(groups_of("sex"), sources), 1) == pooled(only, 1)


@settings(max_examples=25)
@given(rows=st.lists(st.tuples(sexes, stages, numbers, numbers), min_size=1, max_size=60), seed=st.integers(0, 2**32))
def test_neither_the_split_of_the_rows_nor_the_order_of_holders_changes_a_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, seed: int
) -> None:
    folder, chance = tmp_path_factory.mktemp("splits"), random.Random(seed)
    artifact = groups_of("sex,stage", "a,b", "count,mean,variance")
    found = {bits(federated_groups(artifact, split(folder, rows, parts, chance))) for parts in (1, 2, 3, 5)}
    assert len(found) == 1


def split(folder: Path, rows: Rows, parts: int, chance: random.Random) -> list[tuple[str, SourceFile]]:
    """The rows in any order, dealt out to so many holders in any order. Nobody withholds anything."""
    shares: list[Rows] = [[] for _ in range(parts)]
    for row in chance.sample(rows, len(rows)):
        chance.choice(shares).append(row)
    sources = []
    for at, share in enumerate(shares):
        text = csv_text(HEADER, [["" if one is None else one for one in row] for row in share])
        sources.append((f"{parts}-{at}", source_of(folder, text, name=f"{parts}-{at}", rules=OPEN_RULES)))
    return chance.sample(sources, parts)


def bits(result: GroupedSummary) -> bytes:
    """All of the groups but how many sources each comes from."""
    groups = [
        msgspec.structs.replace(
            group,
            sources=0,
            columns={name: msgspec.structs.replace(one, sources=0) for name, one in group.columns.items()},
        )
        for group in result.groups
    ]
    return b"".join(map(encode_record, groups))


# --- a table that people know -------------------------------------------------------------------


def test_the_penguins_by_species_and_sex_are_those_that_were_published(tmp_path: Path) -> None:
    """Counts and means as `aggregate(body_mass_g ~ species + sex, penguins, mean)` gives them in R."""
    shares = penguin_shares().items()
    sources = [(name, source_of(tmp_path, text, name=name, rules=OPEN_RULES)) for name, text in shares]
    result = federated_groups(groups_of("species,sex", "body_mass_g", "mean"), sources)
    found = {group.key: (group.rows, group.columns["body_mass_g"]) for group in result.groups}
    assert [(key, rows) for key, (rows, _) in found.items()] == [
        (("Adelie", "female"), 73), (("Adelie", "male"), 73), (("Adelie", None), 6),
        (("Chinstrap", "female"), 34), (("Chinstrap", "male"), 34),
        (("Gentoo", "female"), 58), (("Gentoo", "male"), 61), (("Gentoo", None), 5),
    ]  # fmt: skip
    assert found["Adelie", "female"][1].mean == pytest.approx(3368.836, abs=5e-4)
    assert found["Gentoo", "male"][1].mean == pytest.approx(5484.836, abs=5e-4)
    assert found["Gentoo", None][1].missing == 1
