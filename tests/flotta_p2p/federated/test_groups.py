"""Groups at one holder and of several: what is a group, what leaves of it, and what is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotta_p2p.federated.groups import measure, merge, prepare
from protocol.errors import Code, DataError, FlottaError, WorkflowError
from protocol.limits import GROUP_KEY_CHARS_MAX, GROUP_VALUES_MAX, GROUPS_MAX
from protocol.plan.tasks import ColumnMeasure, DisclosureRules, Group, GroupMeasure, GroupSummary, Key, SourceFile
from protocol.wire.codec import decode_record, encode_record
from tests.flotta_p2p.federated.helpers import (
    OPEN_RULES,
    artifact_of,
    csv_text,
    federated_groups,
    federated_summary,
    groups_of,
    source_of,
)

RULES = DisclosureRules(minimum_cohort=10, minimum_cell=5)


def sources_of(folder: Path, *texts: str, rules: DisclosureRules = OPEN_RULES) -> list[tuple[str, SourceFile]]:
    return [(f"s{at}", source_of(folder, text, name=f"s{at}", rules=rules)) for at, text in enumerate(texts)]


def rows_by_key(groups: tuple[GroupSummary, ...]) -> dict[tuple[Key, ...], int]:
    return {group.key: group.rows for group in groups}


def of_sizes(**sizes: int) -> str:
    """A table of so many rows for each key, with the value 1."""
    return csv_text(("key", "value"), [(key, 1) for key, size in sizes.items() for _ in range(size)])


# --- what a group is ----------------------------------------------------------------------------


def test_a_group_of_a_later_holder_alone_is_counted_as_it_is(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,value\na,1\na,2\n", "key,value\nb,5\n", "key,value\na,9\nc,7\nb,\n")
    result = federated_groups(groups_of("key", "value", "mean"), sources)
    assert [
        (group.key, group.rows, group.sources, group.columns["value"].present, group.columns["value"].mean)
        for group in result.groups
    ] == [(("a",), 3, 2, 3, 4.0), (("b",), 2, 2, 1, 5.0), (("c",), 1, 1, 1, 7.0)]


def test_two_sources_of_one_machine_are_counted_once_each(tmp_path: Path) -> None:
    (_, one), (_, other) = sources_of(tmp_path, "key\na\n", "key\na\na\n")
    sources = [("node-a/one", one), ("node-a/other", other)]
    assert rows_by_key(federated_groups(groups_of("key"), sources).groups) == {("a",): 3}
    with pytest.raises(DataError, match="came twice"):
        federated_groups(groups_of("key"), [sources[0], sources[0]])


def test_a_missing_value_is_a_group_of_its_own_apart_from_every_text(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,x\n,1\nnull,2\n'null',3\n(missing),4\nnone,5\nNA,6\n")
    assert rows_by_key(federated_groups(groups_of("key"), sources).groups) == {
        ("'null'",): 1,
        ("(missing)",): 1,
        ("none",): 1,
        (None,): 3,
    }


def test_numbers_are_one_group_however_they_are_written_and_zero_has_no_sign(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,x\n1,0\n1.0,0\n1e0,0\n-0.0,0\n", "key,x\n+1,0\n0,0\n-0,0\nNaN,0\n")
    groups = federated_groups(groups_of("key"), sources).groups
    assert repr(rows_by_key(groups)) == "{(0.0,): 3, (1.0,): 4, (None,): 1}"


def test_true_and_false_are_groups_and_not_one_and_zero(tmp_path: Path) -> None:
    groups = federated_groups(groups_of("key"), sources_of(tmp_path, "key,x\ntrue,0\nFALSE,0\nTrue,0\n")).groups
    assert [(type(group.key[0]), group.key[0], group.rows) for group in groups] == [(bool, False, 1), (bool, True, 2)]


def test_texts_are_not_made_alike_in_silence(tmp_path: Path) -> None:
    keys = ("f", "F", "\u00e9", "e\u0301", "ﬀ", "ff")
    text = csv_text(("key", "x"), [(key, 0) for key in keys])
    assert rows_by_key(federated_groups(groups_of("key"), sources_of(tmp_path, text)).groups) == {
        (key,): 1 for key in keys
    }


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("1", "x", "numbers at s0 and text at s1"),
        ("1", "x,0\n1", "numbers at s0 and text at s1"),
        ("true", "1", "true and false at s0 and numbers at s1"),
        ("true", "yes", "true and false at s0 and text at s1"),
    ],
)
def test_a_column_of_two_types_at_two_holders_is_refused_naming_both(
    tmp_path: Path, one: str, other: str, says: str
) -> None:
    sources = sources_of(tmp_path, f"key,x\n{one},0\n", f"key,x\n{other},0\n")
    with pytest.raises(DataError) as caught:
        federated_groups(groups_of("key"), sources)
    assert caught.value.code == Code.COLUMN_TYPES_DIFFER
    assert 'column "key"' in caught.value.sentence and says in caught.value.sentence


def test_a_column_that_is_empty_at_one_holder_fits_every_type(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,x\n,0\n", "key,x\nyes,0\n")
    assert rows_by_key(federated_groups(groups_of("key"), sources).groups) == {("yes",): 1, (None,): 1}


def test_the_filter_selects_before_rows_are_grouped(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,x,y\na,1,3\na,2,4\nb,1,5\n")
    result = federated_groups(groups_of("key,x", "y", "mean", where="x < 2 and not (y is None)"), sources)
    assert rows_by_key(result.groups) == {("a", 1.0): 1, ("b", 1.0): 1}


# --- what leaves --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "shown", "hidden"),
    [
        ({"a": 30, "b": 20, "c": 10}, {"a", "b", "c"}, 0),
        ({"a": 30, "b": 20, "c": 9}, {"a"}, 2),
        ({"a": 30, "b": 20, "c": 20, "d": 1, "e": 2}, {"a"}, 4),
        ({"a": 30}, {"a"}, 0),
    ],
)
def test_small_groups_are_withheld_with_those_that_would_give_them_away(
    tmp_path: Path, sizes: dict[str, int], shown: set[str], hidden: int
) -> None:
    result = federated_groups(groups_of("key", "value", "mean"), sources_of(tmp_path, of_sizes(**sizes), rules=RULES))
    (source,) = result.coverage.by_source
    assert {group.key[0] for group in result.groups} == shown
    assert (source.groups_withheld, source.rows) == (hidden, sum(sizes[key] for key in shown))
    assert result.coverage.groups_withheld == hidden


def test_the_larger_of_both_minima_holds_for_groups(tmp_path: Path) -> None:
    rules = DisclosureRules(minimum_cohort=3, minimum_cell=10)
    result = federated_groups(groups_of("key"), sources_of(tmp_path, of_sizes(a=30, b=9, c=12), rules=rules))
    assert rows_by_key(result.groups) == {("a",): 30}


@pytest.mark.parametrize("sizes", [{"a": 9, "b": 9}, {"a": 30, "b": 1}, {"a": 10, "b": 10, "c": 1}])
def test_a_source_that_would_hide_every_group_is_withheld_without_their_number(
    tmp_path: Path, sizes: dict[str, int]
) -> None:
    result = federated_groups(groups_of("key"), sources_of(tmp_path, of_sizes(**sizes), rules=RULES))
    (source,) = result.coverage.by_source
    assert (result.groups, result.rows, result.coverage.sources_counted) == ((), 0, 0)
    assert source.withheld == "every group has fewer than 10 rows, or would give away one that has"
    assert (source.rows, source.groups_withheld) == (0, 0)


def test_a_small_selection_is_withheld_and_the_result_is_empty_and_says_so(tmp_path: Path) -> None:
    artifact = groups_of("key", "value", "mean", where="value > 1")
    result = federated_groups(artifact, sources_of(tmp_path, of_sizes(a=30), rules=RULES))
    assert (result.groups, result.coverage.sources_counted) == ((), 0)
    assert result.coverage.by_source[0].withheld == "fewer than 10 rows are selected"
    assert result.coverage.by_source[0].columns_withheld == ("value",)


@pytest.mark.parametrize(
    ("missing", "withheld"), [(0, False), (1, True), (4, True), (5, False), (20, False), (21, True), (30, False)]
)
def test_few_missing_or_few_present_values_in_one_group_withhold_the_column_in_all(
    tmp_path: Path, missing: int, withheld: bool
) -> None:
    rows = [("a", 1, 1)] * 40 + [("b", "", 1)] * missing + [("b", 1, 1)] * (30 - missing)
    sources = sources_of(tmp_path, csv_text(("key", "x", "y"), rows), rules=RULES)
    result = federated_groups(groups_of("key", "x,y", "mean"), sources)
    assert result.coverage.by_source[0].columns_withheld == (("x",) if withheld else ())
    assert rows_by_key(result.groups) == {("a",): 40, ("b",): 30}
    assert [group.columns["x"].sources for group in result.groups] == ([0, 0] if withheld else [1, 1])
    assert [group.columns["y"].sources for group in result.groups] == [1, 1]


def test_the_next_step_that_people_are_told_gives_the_column(tmp_path: Path) -> None:
    rows = [("a", 1)] * 40 + [("b", "")] * 2 + [("b", 3)] * 30
    sources = sources_of(tmp_path, csv_text(("key", "x"), rows), rules=RULES)
    result = federated_groups(groups_of("key", "x", "mean", where="not (x is None)"), sources)
    assert [group.columns["x"].mean for group in result.groups] == [1.0, 3.0]


@pytest.mark.parametrize("values", [GROUP_VALUES_MAX, GROUP_VALUES_MAX + 1])
def test_a_column_of_too_many_values_groups_nothing_and_is_named(tmp_path: Path, values: int) -> None:
    text = csv_text(("name", "x"), [(f"n{at}", 0) for at in range(values)])
    result = federated_groups(groups_of("name"), sources_of(tmp_path, text))
    refused = 'the column "name" has more than 100 different values and cannot group'
    assert result.coverage.by_source[0].withheld == ("" if values == GROUP_VALUES_MAX else refused)
    assert len(result.groups) == (values if values == GROUP_VALUES_MAX else 0)


def test_columns_that_make_too_many_groups_together_group_nothing(tmp_path: Path) -> None:
    text = csv_text(("a", "b"), [(at // 25, at % 25) for at in range(GROUPS_MAX + 1)])
    result = federated_groups(groups_of("a,b"), sources_of(tmp_path, text))
    assert result.coverage.by_source[0].withheld == f"the columns that group make more than {GROUPS_MAX} groups"


def test_long_texts_group_nothing_but_say_nothing_where_they_are_hidden(tmp_path: Path) -> None:
    long = "x" * (GROUP_KEY_CHARS_MAX + 1)
    one, other = of_sizes(a=40, b=10, **{long: 10}), of_sizes(a=40, b=10, **{long: 1})
    refused, hidden = federated_groups(
        groups_of("key"), sources_of(tmp_path, one, other, rules=RULES)
    ).coverage.by_source
    assert refused.withheld == 'the column "key" has values longer than 64 characters and cannot group'
    assert (hidden.withheld, hidden.groups, hidden.groups_withheld) == ("", 1, 2)


def test_a_text_column_is_counted_and_its_mean_is_refused_by_name(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,sex,ok\na,f,true\na,,false\n")
    (group,) = federated_groups(groups_of("key", "sex,ok", "count"), sources).groups
    assert [(one.present, one.missing, one.mean) for one in group.columns.values()] == [(1, 1, None), (2, 0, None)]
    with pytest.raises(DataError) as caught:
        federated_groups(groups_of("key", "sex", "mean"), sources)
    assert (caught.value.code, '"sex"' in caught.value.sentence) == (Code.COLUMN_NOT_NUMERIC, True)


def test_an_unknown_column_is_a_fault_that_names_the_nearest(tmp_path: Path) -> None:
    for artifact in (groups_of("keyy", "value", "mean"), groups_of("key", "valu", "mean")):
        with pytest.raises(DataError) as caught:
            federated_groups(artifact, sources_of(tmp_path, of_sizes(a=3)))
        assert (caught.value.code, "did you mean" in caught.value.next_step) == (Code.COLUMN_UNKNOWN, True)


def test_a_value_that_cannot_be_summed_speaks_only_where_it_may_leave(tmp_path: Path) -> None:
    text = of_sizes(a=40, b=12) + "c,1e300\n" * 3
    artifact = groups_of("key", "value", "mean")
    result = federated_groups(artifact, sources_of(tmp_path, text, rules=RULES))
    assert [group.columns["value"].mean for group in result.groups] == [1.0]
    with pytest.raises(DataError) as caught:
        federated_groups(artifact, sources_of(tmp_path, text + "c,1e300\n" * 20, rules=RULES))
    assert caught.value.code == Code.VALUE_OUT_OF_RANGE


def test_one_group_of_all_rows_is_the_summary(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "key,x\na,0.1\na,0.2\n", "key,x\na,0.3\na,\n")
    (group,) = federated_groups(groups_of("key", "x", "mean,variance"), sources).groups
    assert group.columns == federated_summary(artifact_of("x", "mean,variance"), sources).columns


# --- what is not believed -----------------------------------------------------------------------


def test_settings_that_are_not_those_of_the_artifact_are_refused(tmp_path: Path) -> None:
    ((_, source),) = sources_of(tmp_path, of_sizes(a=3))
    artifact = groups_of("key", "value", "mean")
    for altered in (
        msgspec.structs.replace(prepare(artifact), by=("value",)),
        msgspec.structs.replace(prepare(artifact), each=prepare(groups_of("key", "value", "variance")).each),
    ):
        with pytest.raises(FlottaError) as caught:
            measure(artifact, source, altered)
        assert caught.value.code == Code.RESULT_ALTERED


def test_an_artifact_of_another_kind_is_refused() -> None:
    with pytest.raises(WorkflowError, match=r"no step groups\.prepare"):
        prepare(artifact_of("x", "mean"))


def group(*key: Key, rows: int = 4, **column: Any) -> Group:
    sound = ColumnMeasure(present=3, missing=1, total=(3.0,), squares=(5.0,))
    return Group(key=key, rows=rows, columns={"x": msgspec.structs.replace(sound, **column)})


def measured(*groups: Group, **changed: Any) -> GroupMeasure:
    sound = GroupMeasure(groups=groups, groups_withheld=0, columns_withheld=())
    return msgspec.structs.replace(sound, **changed)


ARTIFACT = groups_of("a,b", "x", "mean,variance")
BARE = Group(key=("f", 1.0), rows=4, columns={})


def test_a_sound_measure_is_merged() -> None:
    good = measured(group("f", 1.0), group("f", None), group("m", 1.0), group(None, None))
    assert [one.columns["x"].mean for one in merge(ARTIFACT, [("b", good)]).groups] == [1.0] * 4
    assert merge(ARTIFACT, [("b", measured(BARE, columns_withheld=("x",)))]).groups[0].columns["x"].sources == 0


@pytest.mark.parametrize(
    "measure",
    [
        measured(),
        measured(withheld="a\x1b[2J"),
        measured(withheld="w" * 201),
        measured(withheld="why", groups_withheld=2),
        measured(withheld="why", columns_withheld=("x",)),
        measured(group("f", 1.0), withheld="why"),
        measured(group("f", 1.0), groups_withheld=-1),
        measured(group("f", 1.0), groups_withheld=GROUPS_MAX),
        measured(group("f")),
        measured(group("f", 1.0, 2.0)),
        measured(group("", 1.0)),
        measured(group("f" * (GROUP_KEY_CHARS_MAX + 1), 1.0)),
        measured(group("f", float("nan"))),
        measured(group("f", float("inf"))),
        measured(group("f", -0.0)),
        measured(group("f", 1.0), group("m", True)),
        measured(group("f", 1.0), group("m", "1")),
        measured(group("f", 1.0), group("f", 1.0)),
        measured(group("m", 1.0), group("f", 1.0)),
        measured(group("f", None), group("f", 1.0)),
        measured(group("f", 1.0, rows=0, present=0, missing=0, total=(), squares=())),
        measured(group("f", 1.0, rows=5)),
        measured(group("f", 1.0, present=-1, missing=5)),
        measured(group("f", 1.0, total=None)),
        measured(group("f", 1.0, total=(-4.0,))),
        measured(group("f", 1.0, squares=(float("inf"),))),
        measured(BARE),
        measured(BARE, columns_withheld=("y",)),
        measured(BARE, columns_withheld=("x", "x")),
        measured(group("f", 1.0), columns_withheld=("x",)),
        measured(group("f", 1.0), BARE),
    ],
)
def test_a_measure_that_makes_no_sense_is_refused_naming_the_holder(measure: GroupMeasure) -> None:
    measure = decode_record(encode_record(measure), GroupMeasure, bytes_max=100_000)
    with pytest.raises(DataError) as caught:
        merge(ARTIFACT, [("good", measured(group("f", 1.0))), ("node-b/bad", measure)])
    assert caught.value.code == Code.RESULT_ALTERED
    assert "node-b/bad" in caught.value.sentence
