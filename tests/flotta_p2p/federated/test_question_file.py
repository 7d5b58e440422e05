"""However a question is written, it is the same artifact, byte for byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.federated.question_file import group_parameters, parse_bins, read_question_file, summary_parameters
from flotta_p2p.order_options import OrderOptions
from protocol.errors import Code, WorkflowError
from protocol.limits import STATEMENT_BYTES_MAX
from protocol.plan.artifact import Query, artifact_bytes, question_artifact, read_artifact
from protocol.plan.filters import AllOf, Compare
from protocol.plan.operations import Bins, GroupParameters, SummaryParameters

YAML = """
project: heart
columns: [age, bmi]
where: "age >= 40 and sex == 'f'"
statistics: [histogram, count, mean]
bins:
  age: {low: 40, high: 100, count: 12}
options: {holders_min: 3}
"""
JSON = json.dumps(
    {
        "project": "heart",
        "columns": ["age", "bmi"],
        "where": "age >= 40 and sex == 'f'",
        "statistics": ["count", "mean", "histogram"],
        "bins": {"age": {"low": 40, "high": 1e2, "count": 12}},
        "options": {"holders_min": 3},
    }
)
WHERE = AllOf(terms=(Compare(column="age", relation=">=", value=40), Compare(column="sex", relation="==", value="f")))


def test_file_options_and_objects_give_the_same_bytes() -> None:
    objects = (
        Query(columns=("age", "bmi"), where=WHERE),
        SummaryParameters(
            statistics=("count", "mean", "histogram"), bins={"age": Bins(low=40.0, high=100.0, count=12)}
        ),
    )
    options = summary_parameters(" mean,histogram, count", parse_bins(["age:40:100:12"]))
    files = (read_question_file(YAML, "yaml"), read_question_file(JSON, "json"))
    asked = [objects, (objects[0], options), *((job.query, job.parameters) for job in files)]
    found = {artifact_bytes(question_artifact(b"p" * 16, query, parameters)) for query, parameters in asked}
    assert len(found) == 1


def test_a_question_by_group_gives_the_same_bytes_by_every_way() -> None:
    parameters = GroupParameters(by=("sex", "site"), statistics=("count", "mean"))
    text = YAML.replace("[histogram, count, mean]", "[mean, count]").replace("bins:\n  age: {", "by: [sex, site]\n#")
    file = read_question_file(text, "yaml")
    asked = [
        (Query(columns=("age", "bmi"), where=WHERE), parameters),
        (Query(columns=("age", "bmi"), where=WHERE), group_parameters("mean, count", ("sex", "site"))),
        (file.query, file.parameters),
    ]
    found = {artifact_bytes(question_artifact(b"p" * 16, query, parameters)) for query, parameters in asked}
    assert len(found) == 1
    (data,) = found
    artifact = read_artifact(data)
    assert artifact.query.columns == ("age", "bmi", "sex", "site")  # where a holder's rule of columns looks
    assert [step.operation for step in artifact.steps] == ["groups.prepare", "groups.measure", "groups.merge"]


def test_groups_need_no_columns_and_have_no_histogram() -> None:
    job = read_question_file("{project: heart, by: [sex], statistics: [count]}", "yaml")
    assert (job.query.columns, job.parameters) == ((), GroupParameters(by=("sex",), statistics=("count",)))
    for text in (YAML + "by: [sex]\n", "{project: heart, by: [sex], statistics: [histogram]}"):
        with pytest.raises(WorkflowError, match="histogram cannot be asked for by group"):
            read_question_file(text, "yaml")


def test_what_is_left_out_has_its_default() -> None:
    job = read_question_file("{project: heart, columns: [age], statistics: [count]}", "yaml")
    assert (job.project, job.query.where, job.parameters, job.options) == (
        "heart",
        None,
        SummaryParameters(statistics=("count",)),
        OrderOptions(),
    )
    assert read_question_file(YAML, "yaml").options.holders_min == 3


def test_a_column_of_bins_may_hold_colons() -> None:
    assert parse_bins(["a:b:-1.5:1e3:20"]) == {"a:b": Bins(low=-1.5, high=1000.0, count=20)}


@pytest.mark.parametrize("text", ["age", "age:0:100", "age:0:x:20", "age:0:100:2.5", ""])
def test_bins_that_do_not_read_show_how_to_write_them(text: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse_bins([text])
    assert (caught.value.code, "age:0:100:20" in caught.value.next_step) == (Code.PARAMETER_WRONG, True)


@pytest.mark.parametrize(
    ("statistics", "bins"),
    [
        ("median", []),
        ("", []),
        ("mean,mean", []),
        ("histogram", []),
        ("mean", ["age:0:100:20"]),
        ("histogram", ["age:100:0:20"]),
        ("histogram", ["age:0:nan:20"]),
        ("histogram", ["age:0:1:0"]),
        ("histogram", ["age:0:1:2", "age:0:1:2"]),
    ],
)
def test_statistics_that_make_no_sense_are_refused(statistics: str, bins: list[str]) -> None:
    with pytest.raises(WorkflowError) as caught:
        summary_parameters(statistics, parse_bins(bins))
    assert caught.value.code == Code.PARAMETER_WRONG


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("[1, 2]", "yaml", "map of keys"),
        ("project: [", "yaml", "line 2: this is not YAML"),
        ("{", "json", "no JSON"),
        ("[" * 100_000, "json", "no JSON"),
        ("[" * 1_000, "yaml", "nested deeper than 32 levels"),
        ("project: a\nproject: b\n", "yaml", "stands already on line 1"),
        ('{"project": "a", "project": "b"}', "json", "stands twice"),
        ("a: &x [1]\nb: *x\n", "yaml", "the alias *x is not allowed"),
        ("a: !!python/object/apply:os.getcwd []\n", "yaml", 'python/object/apply:os.getcwd" is not allowed'),
        ("project: heart\ncolums: [age]\n", "yaml", "colums"),
        (YAML.replace("holders_min", "holder_min"), "yaml", "holder_min"),
        (YAML.replace("[age, bmi]", "[age, 3]"), "yaml", "columns"),
        (YAML.replace("[age, bmi]", "age"), "yaml", "columns"),
        (YAML.replace("low: 40", "low: forty"), "yaml", "bins"),
        (YAML.replace("project: heart", ""), "yaml", "project"),
        ("x" * (STATEMENT_BYTES_MAX + 1), "yaml", "characters"),
        (JSON.replace('"high"', r'"\ud800"'), "json", "half a character"),
    ],
)
def test_a_submission_file_that_does_not_read_says_where(text: str, kind: str, says: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        read_question_file(text, kind)  # type: ignore[arg-type]
    assert caught.value.code == Code.ARTIFACT_MALFORMED
    assert says in caught.value.sentence, caught.value
    assert caught.value.next_step


def test_a_misspelt_key_names_the_nearest() -> None:
    with pytest.raises(WorkflowError) as caught:
        read_question_file("project: heart\ncolums: [age]\n", "yaml")
    assert caught.value.next_step == "did you mean columns?"


@given(st.text(max_size=80), st.sampled_from(["yaml", "json"]))
def test_any_text_is_a_job_or_one_error(text: str, kind: str) -> None:
    with pytest.raises(WorkflowError):
        read_question_file(text, kind)  # type: ignore[arg-type]
