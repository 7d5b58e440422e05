"""A holder's rules, decided from the order alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.columns import ColumnRules
from protocol.errors import Code
from protocol.plan.artifact import Artifact, Query, artifact_bytes, groups_artifact, summary_artifact
from protocol.plan.filters import Filter, parse_filter
from protocol.plan.operations import GroupParameters
from protocol.plan.order import VerifiedOrder, verify_order
from protocol.plan.plan import Task
from protocol.policy import Allow, Deny, NodePolicy, SourcePolicy, decide
from tests.protocol.builders import COUNT, OTHER_PROJECT, PROJECT, order, signed

HIDDEN = "hiv_status"


def verified(artifact: Artifact) -> VerifiedOrder:
    signed_order, _ = signed(order(artifact=artifact_bytes(artifact)))
    return verify_order(signed_order, {PROJECT.project_id: PROJECT})


def summary(*columns: str, where: str | Filter = "") -> Artifact:
    condition = parse_filter(where) if isinstance(where, str) and where else where or None
    return summary_artifact(PROJECT.project_id, Query(columns=columns, where=condition), COUNT)


def groups(by: str, *columns: str) -> Artifact:
    query = Query(columns=columns)
    return groups_artifact(PROJECT.project_id, query, GroupParameters(by=tuple(by.split(",")), statistics=("count",)))


def decided(artifact: Artifact, source: str = "s", **rules: Any) -> Allow | Deny:
    policy = SourcePolicy(projects=frozenset([PROJECT.project_id]), columns=ColumnRules(**rules))
    other = SourcePolicy(projects=frozenset([OTHER_PROJECT.project_id]))
    task = Task(index=1, step=1, operation="summary.measure", effect="pure", node=bytes(32), source=source, inputs=(0,))
    return decide(NodePolicy(sources={"s": policy, "other": other}), verified(artifact), task)


def test_a_source_of_another_project_is_refused_like_one_that_does_not_exist() -> None:
    refusals = [decided(summary("age"), source) for source in ("other", "none")]
    assert [one.code for one in refusals if isinstance(one, Deny)] == [Code.SOURCE_UNKNOWN] * 2
    reasons = [one.reason.replace("other", "none") for one in refusals if isinstance(one, Deny)]
    assert reasons[0] == reasons[1]


@pytest.mark.parametrize(
    ("artifact", "rules", "says"),
    [
        (summary("age"), {"columns": frozenset({"sex"})}, "does not open the column 'age'"),
        (summary("age", where="sex == 'f'"), {"columns": frozenset({"age"})}, "does not open the column 'sex'"),
        (groups("sex", "age"), {"columns": frozenset({"age"})}, "does not open the column 'sex'"),
        (groups("sex", "age"), {"groupable": frozenset()}, "does not let the column 'sex' group"),
        (groups("site,sex"), {"groupable": frozenset({"site"})}, "does not let the column 'sex' group"),
        (groups("age"), {"numeric_only": frozenset({"age"})}, "does not let the column 'age' group"),
        (groups("sex"), {"numeric_only": "all"}, "does not let the column 'sex' group"),
        (summary("age", where="sex == 'f'"), {"numeric_only": "all"}, "opens the column 'sex' as numbers alone"),
        (summary("age", where="age in [1, 'x']"), {"numeric_only": frozenset({"age"})}, "column 'age' as numbers"),
        (summary("age", where="not (age == True)"), {"numeric_only": frozenset({"age"})}, "column 'age' as numbers"),
    ],
)
def test_what_a_column_is_not_open_for_is_refused(artifact: Artifact, rules: dict[str, Any], says: str) -> None:
    verdict = decided(artifact, **rules)
    assert isinstance(verdict, Deny)
    assert (verdict.code, says in verdict.reason, bool(verdict.next_step)) == (Code.POLICY_DENIED, True, True)


@pytest.mark.parametrize(
    ("artifact", "rules"),
    [
        (summary("age", where="sex == 'f'"), {}),
        (summary("age", where="age > 40 and age is not None"), {"numeric_only": "all"}),
        (groups("sex", "age"), {"groupable": frozenset({"sex"}), "numeric_only": "all"}),
        (groups("sex"), {"columns": frozenset({"sex"})}),
    ],
)
def test_what_every_column_is_open_for_is_allowed(artifact: Artifact, rules: dict[str, Any]) -> None:
    assert decided(artifact, **rules) == Allow()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "columns": st.just(frozenset({"age"})),
            "groupable": st.sampled_from([frozenset(), frozenset({"age"})]),
            "numeric_only": st.sampled_from(["all", frozenset({"dose"})]),
        },
    ),
    st.sampled_from(["summary", "filter", "words", "groups", "grouped"]),
)
def test_a_hidden_column_is_decided_like_one_that_does_not_exist(rules: dict[str, Any], use: str) -> None:
    def about(name: str) -> Allow | Deny:
        asked = {
            "summary": summary(name),
            "filter": summary("age", where=f"{name} > 1"),
            "words": summary("age", where=f"{name} == 'yes'"),
            "groups": groups(name),
            "grouped": groups("age", name),
        }
        return decided(asked[use], hidden=frozenset({HIDDEN}), **rules)

    hidden, absent = about(HIDDEN), about("not_a_column")
    assert str(hidden).replace(HIDDEN, "not_a_column") == str(absent)
