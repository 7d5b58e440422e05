"""Groups in words: every key can be told from every other, and what is withheld is never called zero."""

from __future__ import annotations

import json

from msgspec.structs import replace

from flotta_p2p.commands.group_results import group_lines, group_values
from protocol.plan.tasks import (
    ColumnSummary,
    GroupCoverage,
    GroupedSummary,
    GroupsOfSource,
    GroupSummary,
    Key,
)

NAMES = {"A/north": "North", "B/south": "South"}
AGE = ColumnSummary(present=28, missing=5, sources=1, mean=0.1 + 0.2, variance=2.0)
LONE = ColumnSummary(present=0, missing=0, sources=0)


def result(*keys: tuple[Key, ...], columns: dict[str, ColumnSummary] | None = None) -> GroupedSummary:
    groups = tuple(GroupSummary(key=key, rows=33, sources=2, columns=columns or {}) for key in keys)
    south = GroupsOfSource(
        source="B/south", rows=0, groups=0, groups_withheld=0, columns_withheld=("age",), withheld="fewer than 10 rows"
    )
    north = GroupsOfSource(
        source="A/north", rows=33, groups=len(keys), groups_withheld=3, columns_withheld=("body mass",)
    )
    return GroupedSummary(
        by=tuple(f"k{at}" for at in range(len(keys[0]))) if keys else ("k0",),
        rows=33 * len(keys),
        groups=groups,
        coverage=GroupCoverage(
            sources=2,
            sources_counted=1 if keys else 0,
            rows=33 * len(keys),
            groups_withheld=3,
            by_source=(north, south) if keys else (south,),
        ),
    )


def shown_keys(*keys: tuple[Key, ...]) -> list[list[str]]:
    lines = list(group_lines(result(*keys), NAMES))
    return [line.split()[: len(keys[0])] for line in lines[3 : 3 + len(keys)]]


def test_each_column_has_a_table_of_the_groups_with_exact_numbers() -> None:
    lines = list(group_lines(result(("f", 1.0), ("m", None), columns={"age": AGE, "bmi": LONE}), NAMES))
    assert lines[0] == "66 rows in 2 groups, of 1 of 2 sources"
    assert lines[2:5] == [
        "age by k0, k1",
        "  k0         k1  rows  sources  present  missing                 mean  variance                  sd",
        "  f           1    33   1 of 2       28        5  0.30000000000000004       2.0  1.4142135623730951",
    ]
    assert lines[9].split() == ["f", "1", "33", "0", "of", "2", "withheld", "withheld"]


def test_a_mean_of_no_values_is_undefined_and_not_withheld() -> None:
    empty = ColumnSummary(present=0, missing=33, sources=2)
    one = result(("f",), ("m",), columns={"age": AGE})
    other = GroupSummary(key=("m",), rows=33, sources=2, columns={"age": empty})
    lines = list(
        group_lines(GroupedSummary(by=one.by, rows=66, groups=(one.groups[0], other), coverage=one.coverage), {})
    )
    assert lines[5].split() == ["m", "33", "2", "of", "2", "0", "33", *["undefined"] * 3]


def test_missing_is_told_from_every_text_and_numbers_and_booleans_are_plain() -> None:
    assert shown_keys(("(missing)",), (None,)) == [["'(missing)'"], ["(missing)"]]
    assert shown_keys((1.0, True), (2.5, False), (1e300, None)) == [
        ["1", "true"],
        ["2.5", "false"],
        ["1e+300", "(missing)"],
    ]


def test_texts_that_look_alike_are_escaped_and_those_of_others_cannot_move_the_cursor() -> None:
    assert shown_keys(("e\u0301",), ("f",), ("\u00e9",)) == [["'e\\u0301'"], ["f"], ["'\\xe9'"]]
    assert shown_keys(("\u00e9",), ("f",)) == [["\u00e9"], ["f"]]
    assert shown_keys(("a\x1b[2J",), ("a\x1b[3J",)) == [["a\ufffd[2J"], ["a\ufffd[3J"]]
    assert shown_keys(("a\x1b",), ("a\x07",)) == [["'a\\x1b'"], ["'a\\x07'"]]


def test_what_is_withheld_is_said_with_its_reason_and_the_next_step() -> None:
    lines = list(group_lines(result(("f",), columns={"body mass": LONE}), NAMES))
    at = next(at for at, line in enumerate(lines) if line.startswith("source"))
    assert [line.split() for line in lines[at + 1 : at + 3]] == [
        ["North/north", "33", "1", "3"],
        ["South/south", "withheld", "withheld", "all"],
    ]
    assert lines[at + 4 :] == [
        "Withheld",
        "  by North/north: body mass in all groups, since one has too few present or too few missing values",
        "  by North/north (3): small groups and those that would give them away; their rows are in no number above",
        "  by South/south: everything: fewer than 10 rows",
        "Next: leave out the rows without a value, with --where \"not (col('body mass') is None)\"",
    ]


def test_all_columns_that_were_withheld_stand_in_the_hint() -> None:
    one = result(("f",), columns={"age": LONE, "body mass": LONE})
    north = replace(one.coverage.by_source[0], columns_withheld=("body mass", "age"))
    lines = list(group_lines(replace(one, coverage=replace(one.coverage, by_source=(north,))), NAMES))
    assert lines[-1].endswith("--where \"not (age is None or col('body mass') is None)\"")


def test_what_is_withheld_is_null_in_json_as_it_is_no_zero_in_the_table() -> None:
    values = group_values(b"j" * 32, result(("f",), columns={"age": LONE}), NAMES)
    age = values["groups"][0]["columns"]["age"]
    assert (age["present"], age["missing"], age["withheld"]) == (None, None, True)
    north, south = values["coverage"]["by_source"]
    assert (south["rows"], south["groups"], south["groups_withheld"]) == (None, None, None)
    assert (north["rows"], north["groups"], north["groups_withheld"]) == (33, 1, 3)
    none = group_values(b"j" * 32, result(), NAMES)
    assert none["rows"] is None and none["coverage"]["rows"] is None


def test_a_result_of_no_groups_says_so() -> None:
    lines = list(group_lines(result(), NAMES))
    assert lines[0].startswith("No groups: every one of the 2 sources is withheld; ")


def test_json_holds_each_key_by_its_column_and_null_for_missing() -> None:
    values = json.loads(json.dumps(group_values(b"j" * 32, result(("f", None), columns={"age": AGE}), NAMES)))
    (group,) = values["groups"]
    assert group["key"] == {"k0": "f", "k1": None}
    assert group["columns"]["age"]["sd"] == 1.4142135623730951
    assert [one["name"] for one in values["coverage"]["by_source"]] == ["North", "South"]
