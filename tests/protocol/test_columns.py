"""The rules for columns: what is not open is not there, and what cannot be met is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.columns import Column, ColumnRules, Kind, schema_digest

TABLE: tuple[tuple[str, Kind], ...] = (("age", "number"), ("sex", "text"), ("ssn", "number"), ("smoker", "boolean"))
NAMES = [name for name, _ in TABLE]
some = st.sets(st.sampled_from([*NAMES, "absent"])).map(frozenset)
rules = st.builds(
    ColumnRules, columns=some | st.none(), hidden=some, groupable=some | st.none(), numeric_only=some | st.just("all")
)


@given(rules)
def test_nothing_hidden_or_closed_is_published_and_what_is_published_is_usable(one: ColumnRules) -> None:
    for column in one.published(TABLE):
        assert column.name not in one.hidden
        assert one.columns is None or column.name in one.columns
        assert column.type == "number" or not one.is_numeric_only(column.name)
        assert column.groups == one.may_group(column.name)


def test_by_default_every_column_is_open_for_everything() -> None:
    assert ColumnRules().published(TABLE) == tuple(Column(name=name, type=kind) for name, kind in TABLE)


@pytest.mark.parametrize(
    ("one", "published", "groups"),
    [
        (ColumnRules(hidden=frozenset({"ssn"})), "age sex smoker", "age sex smoker"),
        (ColumnRules(groupable=frozenset({"sex"})), "age sex ssn smoker", "sex"),
        (ColumnRules(groupable=frozenset()), "age sex ssn smoker", ""),
        (ColumnRules(numeric_only="all"), "age ssn", ""),
        (ColumnRules(numeric_only="all", groupable=frozenset({"sex"})), "age sex ssn", "sex"),
        (ColumnRules(numeric_only=frozenset({"age", "sex"})), "age ssn smoker", "ssn smoker"),
    ],
)
def test_each_rule_closes_what_it_says(one: ColumnRules, published: str, groups: str) -> None:
    found = one.published(TABLE)
    assert [column.name for column in found] == published.split()
    assert [column.name for column in found if column.groups] == groups.split()


def test_a_table_without_a_column_that_is_hidden_or_restricted_is_not_opened() -> None:
    one = ColumnRules(hidden=frozenset({"ssn", "name"}), numeric_only=frozenset({"dose"}), groupable=frozenset({"x"}))
    assert one.missing_in(NAMES) == ("dose", "name")
    assert ColumnRules(numeric_only="all", columns=frozenset({"absent"})).missing_in(NAMES) == ()


@pytest.mark.parametrize(
    ("one", "contradictions"),
    [
        (ColumnRules(), []),
        (ColumnRules(columns=frozenset({"a"}), groupable=frozenset({"a"})), []),
        (ColumnRules(columns=frozenset("ab"), hidden=frozenset("b")), [("columns", '"b" stands under hidden too')]),
        (ColumnRules(hidden=frozenset("b"), groupable=frozenset("ab")), [("groupable", '"b" stands under hidden too')]),
        (
            ColumnRules(hidden=frozenset("b"), numeric_only=frozenset("b")),
            [("numeric_only", '"b" stands under hidden too')],
        ),
        (
            ColumnRules(groupable=frozenset("b"), numeric_only=frozenset("b")),
            [("numeric_only", '"b" stands under groupable too, and numbers alone do not group')],
        ),
        (
            ColumnRules(columns=frozenset("a"), groupable=frozenset("b"), numeric_only=frozenset("c")),
            [
                ("groupable", '"b" does not stand under columns'),
                ("numeric_only", '"c" does not stand under columns'),
            ],
        ),
    ],
)
def test_rules_that_no_table_can_meet_are_told(one: ColumnRules, contradictions: list[tuple[str, str]]) -> None:
    assert list(one.contradictions()) == contradictions


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_a_schema_is_its_columns_in_any_order(names: list[str]) -> None:
    assert schema_digest(names) == schema_digest(sorted(names)) == schema_digest(reversed(names))
    assert schema_digest(names) != schema_digest([*names, "more"])
