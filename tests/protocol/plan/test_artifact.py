"""Artifacts: canonical bytes, and one sentence for each thing that makes no sense."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.errors import Code, WorkflowError
from protocol.limits import (
    HISTOGRAM_BINS_MAX,
    PROBE_BYTES_MAX,
    PROBE_TASKS_MAX,
    QUERY_COLUMNS_MAX,
    STATEMENT_BYTES_MAX,
    STEPS_MAX,
)
from protocol.plan.artifact import (
    CONNECTIONS,
    Artifact,
    Query,
    Step,
    artifact_bytes,
    artifact_id,
    check_artifact,
    groups_artifact,
    probe_artifact,
    read_artifact,
    summary_artifact,
)
from protocol.plan.filters import AllOf, Compare, IsIn, IsNull, Not
from protocol.plan.operations import (
    OPERATIONS,
    Bins,
    GroupParameters,
    ProbeParameters,
    SummaryParameters,
    operation,
    read_parameters,
)
from protocol.wire.codec import decode, encode

PROJECT_ID = b"p" * 16
HISTOGRAM = SummaryParameters(
    statistics=("count", "histogram"),
    bins={"age": Bins(low=0, high=100, count=10), "dose": Bins(low=0.5, high=1, count=2)},
)
GOOD = summary_artifact(
    PROJECT_ID, Query(columns=("age", "dose"), where=Compare(column="sex", relation="==", value="f")), HISTOGRAM
)
PREPARE, MEASURE, MERGE = GOOD.steps


def changed(**changes: Any) -> Artifact:
    return msgspec.structs.replace(GOOD, **changes)


def with_bins(**bins: Bins) -> Artifact:
    parameters = SummaryParameters(statistics=("histogram",), bins=bins)
    return summary_artifact(PROJECT_ID, Query(columns=("age",)), parameters)


def test_the_same_steps_give_the_same_bytes_whatever_the_order_of_their_names() -> None:
    turned = msgspec.structs.replace(HISTOGRAM, bins=dict(reversed(HISTOGRAM.bins.items())))
    same = summary_artifact(PROJECT_ID, GOOD.query, turned)
    assert artifact_bytes(same) == artifact_bytes(GOOD)
    assert artifact_id(artifact_bytes(same)) == artifact_id(artifact_bytes(GOOD))


def test_every_difference_gives_another_id() -> None:
    others = [
        changed(seed=1),
        changed(project=b"q" * 16),
        changed(query=Query(columns=("dose", "age"))),
        changed(query=msgspec.structs.replace(GOOD.query, where=None)),
    ]
    ids = {artifact_id(artifact_bytes(one)) for one in (GOOD, *others)}
    assert len(ids) == 5


def test_bytes_read_back_as_what_was_written() -> None:
    assert read_artifact(artifact_bytes(GOOD)) == GOOD


def step(given: Step, **changes: Any) -> Step:
    return msgspec.structs.replace(given, **changes)


def probe(**parameters: int) -> Artifact:
    prepare, work, merge = PROBE.steps
    return msgspec.structs.replace(PROBE, steps=(prepare, step(work, parameters=parameters), merge))


PROBE = probe_artifact(PROJECT_ID, ProbeParameters(tasks=2))
UNKNOWN = step(MEASURE, operation="os.system")
REFUSED: dict[str, tuple[Artifact, Code, str]] = {
    "no project": (changed(project=b""), Code.ARTIFACT_MALFORMED, "one project"),
    "no columns": (changed(query=Query(columns=())), Code.ARTIFACT_MALFORMED, "at least one column"),
    "a column twice": (changed(query=Query(columns=("age", "age", "dose"))), Code.ARTIFACT_MALFORMED, "twice"),
    "an empty column name": (changed(query=Query(columns=("age", "dose", ""))), Code.ARTIFACT_MALFORMED, "column name"),
    "a column name with a line break": (
        changed(query=Query(columns=("age", "dose", "a\nb"))),
        Code.ARTIFACT_MALFORMED,
        "column name",
    ),
    "too many columns": (
        changed(query=Query(columns=tuple(f"c{i}" for i in range(QUERY_COLUMNS_MAX + 1)))),
        Code.ARTIFACT_MALFORMED,
        "at most",
    ),
    "a long name in the filter": (
        changed(query=msgspec.structs.replace(GOOD.query, where=IsNull(column="x" * 65))),
        Code.ARTIFACT_MALFORMED,
        "column name",
    ),
    "an empty filter": (
        changed(query=msgspec.structs.replace(GOOD.query, where=AllOf(terms=()))),
        Code.FILTER_MALFORMED,
        "at least one term",
    ),
    "an empty list in the filter": (
        changed(query=msgspec.structs.replace(GOOD.query, where=Not(term=IsIn(column="sex", values=())))),
        Code.FILTER_MALFORMED,
        "membership",
    ),
    "no steps": (changed(steps=()), Code.ARTIFACT_MALFORMED, "1 to"),
    "too many steps": (changed(steps=(PREPARE,) * (STEPS_MAX + 1)), Code.ARTIFACT_MALFORMED, "1 to"),
    "an unknown operation": (changed(steps=(PREPARE, UNKNOWN, MERGE)), Code.OPERATION_UNKNOWN, "os.system"),
    "an operation at the wrong place": (
        changed(steps=(PREPARE, step(MEASURE, operation="summary.merge"), MERGE)),
        Code.ARTIFACT_MALFORMED,
        "runs at the scheduler",
    ),
    "no start": (changed(steps=(MEASURE, MERGE)), Code.ARTIFACT_MALFORMED, "begin with initialize"),
    "no end": (changed(steps=(PREPARE, MEASURE)), Code.ARTIFACT_MALFORMED, "end with finalize"),
    "steps that do not connect": (changed(steps=(PREPARE, MERGE)), Code.ARTIFACT_MALFORMED, "cannot follow"),
    "two parallel steps": (changed(steps=(PREPARE, MEASURE, MEASURE, MERGE)), Code.ARTIFACT_MALFORMED, "cannot follow"),
    "no distribution between two steps": (
        changed(steps=(step(PREPARE, distribution="none"), MEASURE, MERGE)),
        Code.ARTIFACT_MALFORMED,
        "is distribute, not none",
    ),
    "a distribution after the last": (
        changed(steps=(PREPARE, MEASURE, step(MERGE, distribution="collect"))),
        Code.ARTIFACT_MALFORMED,
        "distributes nothing",
    ),
    "bins of a column that is not selected": (
        with_bins(age=Bins(low=0, high=1, count=1), bmi=Bins(low=0, high=1, count=1)),
        Code.PARAMETER_WRONG,
        "'bmi'",
    ),
    "bins turned round": (with_bins(age=Bins(low=1, high=0, count=1)), Code.PARAMETER_WRONG, "lower first"),
    "bins without width": (with_bins(age=Bins(low=1, high=1, count=1)), Code.PARAMETER_WRONG, "lower first"),
    "endless bins": (with_bins(age=Bins(low=0, high=float("inf"), count=1)), Code.PARAMETER_WRONG, "finite"),
    "bins of nothing": (with_bins(age=Bins(low=float("nan"), high=1, count=1)), Code.PARAMETER_WRONG, "finite"),
    "bins beyond doubles": (with_bins(age=Bins(low=-1.7e308, high=1.7e308, count=1)), Code.PARAMETER_WRONG, "span"),
    "a query that no step reads": (
        msgspec.structs.replace(PROBE, query=GOOD.query),
        Code.ARTIFACT_MALFORMED,
        "no step reads a table",
    ),
    "a probe without tasks": (probe(tasks=0), Code.PARAMETER_WRONG, "1 to"),
    "a probe that makes too much": (
        probe(tasks=PROBE_TASKS_MAX, bytes=PROBE_BYTES_MAX),
        Code.PARAMETER_WRONG,
        "bytes",
    ),
    "a probe with too many tasks": (probe(tasks=PROBE_TASKS_MAX + 1), Code.PARAMETER_WRONG, str(PROBE_TASKS_MAX)),
    "a probe of too many bytes": (probe(bytes=PROBE_BYTES_MAX + 1), Code.PARAMETER_WRONG, str(PROBE_BYTES_MAX)),
    "a probe of fewer bytes than none": (probe(bytes=-1), Code.PARAMETER_WRONG, "0 to"),
    "no bins": (with_bins(age=Bins(low=0, high=1, count=0)), Code.PARAMETER_WRONG, "1 to"),
    "too many bins": (
        with_bins(age=Bins(low=0, high=1, count=HISTOGRAM_BINS_MAX + 1)),
        Code.PARAMETER_WRONG,
        str(HISTOGRAM_BINS_MAX),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_artifact_that_makes_no_sense_is_refused_in_one_sentence(name: str) -> None:
    artifact, code, part = REFUSED[name]
    for refuse in (check_artifact, artifact_bytes):
        with pytest.raises(WorkflowError) as refused:
            refuse(artifact)
        assert refused.value.code == code and part in refused.value.sentence


def test_the_connections_name_every_pair_that_a_workflow_may_have() -> None:
    assert CONNECTIONS == {("initialize", "parallel"): "distribute", ("parallel", "finalize"): "collect"}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("summary.prepare", {}),
        ("summary.prepare", {"statistics": []}),
        ("summary.prepare", {"statistics": ["count", "count"]}),
        ("summary.prepare", {"statistics": ["median"]}),
        ("summary.prepare", {"statistics": "count"}),
        ("summary.prepare", {"statistics": ["histogram"]}),
        ("summary.prepare", {"statistics": ["count"], "bins": {"age": {"low": 0, "high": 1, "count": 1}}}),
        ("summary.prepare", {"statistics": ["histogram"], "bins": {"age": {"low": "0", "high": 1, "count": 1}}}),
        ("summary.prepare", {"statistics": ["histogram"], "bins": {"age": {"low": 0, "high": 1, "count": 1.5}}}),
        ("summary.prepare", {"statistics": ["count"], "secret": 1}),
        ("summary.measure", {"columns": ["age"]}),
        ("summary.merge", {"weights": None}),
        ("groups.prepare", {"statistics": ["count"]}),
        ("groups.prepare", {"by": [], "statistics": ["count"]}),
        ("groups.prepare", {"by": ["sex", "sex"], "statistics": ["count"]}),
        ("groups.prepare", {"by": ["a", "b", "c", "d", "e"], "statistics": ["count"]}),
        ("groups.prepare", {"by": "sex", "statistics": ["count"]}),
        ("groups.prepare", {"by": ["sex"], "statistics": []}),
        ("groups.prepare", {"by": ["sex"], "statistics": ["mean", "histogram"]}),
        ("groups.prepare", {"by": ["sex"], "statistics": ["count"], "bins": {}}),
        ("groups.measure", {"by": ["sex"]}),
        ("groups.merge", {"weights": None}),
    ],
)
def test_parameters_are_refused_by_name_of_the_operation(name: str, raw: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError) as refused:
        read_parameters(operation(name), raw)
    assert refused.value.code == Code.PARAMETER_WRONG


def test_an_unknown_operation_is_answered_with_those_that_exist() -> None:
    with pytest.raises(WorkflowError) as refused:
        operation("x" * 10_000)
    assert all(name in refused.value.next_step for name in OPERATIONS) and len(str(refused.value)) < 300


def test_every_operation_says_in_words_what_leaves_the_holder() -> None:
    assert all(len(one.lets_out) > 20 for one in OPERATIONS.values())


def test_the_query_of_groups_names_the_columns_that_group_where_a_holders_rule_looks() -> None:
    parameters = GroupParameters(by=("sex", "site"), statistics=("count", "mean"))
    artifact = groups_artifact(PROJECT_ID, Query(columns=("age",), where=GOOD.query.where), parameters)
    assert artifact.query.columns == ("age", "sex", "site")
    assert read_artifact(artifact_bytes(artifact)) == artifact
    for columns in (("age",), ("sex", "site", "age"), ("age", "site", "sex"), ("age", "site")):
        hidden = msgspec.structs.replace(artifact, query=Query(columns=columns))
        with pytest.raises(WorkflowError, match="end with those that group"):
            check_artifact(hidden)


def test_a_column_that_groups_is_not_summarised_and_groups_without_columns_are_counted() -> None:
    parameters = GroupParameters(by=("sex",), statistics=("count", "mean"))
    with pytest.raises(WorkflowError, match="'sex' groups the rows and cannot be summarised as well"):
        groups_artifact(PROJECT_ID, Query(columns=("age", "sex")), parameters)
    with pytest.raises(WorkflowError, match="name columns, or ask for count"):
        artifact_bytes(groups_artifact(PROJECT_ID, Query(columns=()), parameters))
    counted = GroupParameters(by=("sex",), statistics=("count",))
    assert artifact_bytes(groups_artifact(PROJECT_ID, Query(columns=()), counted))


def plain(**changes: Any) -> bytes:
    return encode(decode(artifact_bytes(GOOD), bytes_max=STATEMENT_BYTES_MAX) | changes)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode([]),
        encode({}),
        artifact_bytes(GOOD) + b"\0",
        artifact_bytes(GOOD)[:-1],
        plain(version=2),
        plain(secret=1),
        plain(seed="1"),
        plain(query={"columns": ["age"], "where": {"type": "exec", "code": "x"}}),
        b"\0" * (STATEMENT_BYTES_MAX + 1),
    ],
)
def test_bytes_that_are_no_artifact_are_refused(data: bytes) -> None:
    with pytest.raises(WorkflowError) as refused:
        read_artifact(data)
    assert refused.value.code == Code.ARTIFACT_MALFORMED


def test_an_artifact_beyond_its_size_is_refused_by_its_author() -> None:
    values = tuple(f"{i:060}" for i in range(4_000))
    where = IsIn(column="age", values=values)
    large = changed(query=msgspec.structs.replace(GOOD.query, where=where))
    with pytest.raises(WorkflowError, match="bytes"):
        artifact_bytes(large)
