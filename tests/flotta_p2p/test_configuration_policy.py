"""The rules for columns in the configuration file: what contradicts itself is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.columns import ColumnRules
from tests.flotta_p2p.configuration_files import TOKEN_A, faults, read

ALL_OR_LIST = '"all" or a list, each entry text without control characters'
SOURCE = f"datasources:\n- name: iris\n  type: csv\n  path: iris.csv\n  token: [{TOKEN_A}]\n  policy:\n"


@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        ([], ColumnRules()),
        (["columns: [age, sex]"], ColumnRules(columns=frozenset({"age", "sex"}))),
        (["hidden: [ssn, body mass]"], ColumnRules(hidden=frozenset({"ssn", "body mass"}))),
        (["groupable: []"], ColumnRules(groupable=frozenset())),
        (["groupable: [sex]", "numeric_only: all"], ColumnRules(groupable=frozenset({"sex"}), numeric_only="all")),
        (["numeric_only: [age]"], ColumnRules(numeric_only=frozenset({"age"}))),
    ],
)
def test_the_rules_are_read_as_they_are_written(tmp_path: Path, lines: list[str], rules: ColumnRules) -> None:
    text = SOURCE + "".join(f"    {line}\n" for line in lines)
    assert read(tmp_path, text).datasources[0].policy.column_rules == rules


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["hidden: [a]", "columns: [a, b]"], 'line 8: datasources[0].policy.columns: "a" stands under hidden too'),
        (
            ["columns: [a]", "groupable: [b]"],
            'line 8: datasources[0].policy.groupable: "b" does not stand under columns',
        ),
        (
            ["numeric_only: true"],
            f"line 7: datasources[0].policy.numeric_only: expected {ALL_OR_LIST}, saw a single value",
        ),
        (["columns: []"], "line 7: datasources[0].policy.columns: expected 1 to 4096 entries, saw 0"),
    ],
)
def test_what_contradicts_itself_or_makes_no_sense_is_refused(tmp_path: Path, lines: list[str], fault: str) -> None:
    text = SOURCE + "".join(f"    {line}\n" for line in lines)
    assert faults(tmp_path, text) == [f"site.yaml {fault}"]
