"""The artifact: the declarative document of steps over a project's data. Its id is the hash of its bytes.

The same steps give the same bytes and the same id, whether written in Python, YAML or JSON.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any, Final, Literal

from protocol.errors import Code, RemoteProtocolError, WorkflowError
from protocol.limits import NAME_CHARS_MAX, QUERY_COLUMNS_MAX, STATEMENT_BYTES_MAX, STEPS_MAX
from protocol.plan.filters import Filter, columns_of
from protocol.plan.operations import GroupParameters, ProbeParameters, SummaryParameters, operation, read_parameters
from protocol.record import Record
from protocol.wire.codec import decode_record, encode_record

StepKind = Literal["initialize", "parallel", "finalize"]
Distribution = Literal["distribute", "collect", "none"]

# How the product of a step reaches the next one. A pair that is not listed is an error at submission, never a race.
CONNECTIONS: dict[tuple[StepKind, StepKind], Distribution] = {
    ("initialize", "parallel"): "distribute",
    ("parallel", "finalize"): "collect",
}
PLACES: dict[StepKind, str] = {"initialize": "scheduler", "parallel": "holder", "finalize": "scheduler"}


class Query(Record, frozen=True):
    """Columns to work on and the rows to select. Empty where no step reads a table."""

    columns: tuple[str, ...]
    where: Filter | None = None


_NO_QUERY: Final = Query(columns=())


class Step(Record, frozen=True):
    """One step; `distribution` says how its product reaches the next step."""

    kind: StepKind
    operation: str
    distribution: Distribution = "none"
    parameters: dict[str, Any] = {}


class Artifact(Record, frozen=True):
    version: Literal[1]
    project: bytes
    query: Query
    steps: tuple[Step, ...]
    seed: int = 0


def artifact_bytes(artifact: Artifact) -> bytes:
    """The bytes that are hashed, signed and sent. Raises WorkflowError when the artifact makes no sense."""
    check_artifact(artifact)
    data = encode_record(artifact)
    if len(data) > STATEMENT_BYTES_MAX:
        raise WorkflowError(
            Code.ARTIFACT_MALFORMED,
            f"an artifact has at most {STATEMENT_BYTES_MAX} bytes, this one {len(data)}",
        )
    return data


def artifact_id(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def read_artifact(data: bytes) -> Artifact:
    """The artifact of received bytes. Raises WorkflowError with the first thing that is wrong."""
    try:
        artifact = decode_record(data, Artifact, bytes_max=STATEMENT_BYTES_MAX)
    except RemoteProtocolError as error:
        raise WorkflowError(Code.ARTIFACT_MALFORMED, f"the artifact does not read: {error.sentence}") from error
    check_artifact(artifact)
    return artifact


def result_bytes_max(artifact: Artifact) -> int:
    """What the result may have, whatever the data are."""
    return operation(artifact.steps[-1].operation).product_bytes_max


def check_artifact(artifact: Artifact) -> None:
    """Raises WorkflowError unless the steps fit together, the operations exist and their parameters hold."""
    if len(artifact.project) != 16:
        raise _malformed("an artifact names one project")
    if not 0 < len(artifact.steps) <= STEPS_MAX:
        raise _malformed(f"an artifact has 1 to {STEPS_MAX} steps")
    reads_table = any(operation(step.operation).reads_table for step in artifact.steps)
    if reads_table:
        _check_columns(artifact.query)
    for step in artifact.steps:
        known = operation(step.operation)
        if known.place != PLACES[step.kind]:
            raise _malformed(f"{step.operation} runs at the {known.place}; a step {step.kind} does not")
        parameters = read_parameters(known, step.parameters)
        if isinstance(parameters, SummaryParameters):
            _check_bins(artifact.query, parameters)
        elif isinstance(parameters, GroupParameters):
            _check_groups(artifact.query, parameters)
    _check_connections(artifact.steps)
    if not reads_table and artifact.query != _NO_QUERY:
        raise _malformed("a query stands here, and no step reads a table")


def _check_columns(query: Query) -> None:
    names = (*query.columns, *columns_of(query.where))
    twice = next((name for name in query.columns if query.columns.count(name) > 1), None)
    if twice is not None:
        raise _malformed(f"a query selects each column once; it names {twice[:80]!r} twice")
    if not query.columns:
        raise _malformed("a query selects at least one column")
    if len(query.columns) > QUERY_COLUMNS_MAX:
        raise _malformed(f"a query selects at most {QUERY_COLUMNS_MAX} columns")
    for name in names:
        if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
            raise _malformed(f"a column name has 1 to {NAME_CHARS_MAX} printable characters, unlike {name[:80]!r}")


def _check_bins(query: Query, parameters: SummaryParameters) -> None:
    for column in parameters.bins:
        if column not in query.columns:
            raise WorkflowError(
                Code.PARAMETER_WRONG, f"the bins name the column {column!r}, which the query does not select"
            )


def _check_groups(query: Query, parameters: GroupParameters) -> None:
    """The query names every column that is read, since a holder's rules look there: those that group come last."""
    if query.columns[-len(parameters.by) :] != parameters.by:
        raise _malformed("the columns of the query end with those that group")
    if len(query.columns) == len(parameters.by) and parameters.statistics != ("count",):
        sentence = "without columns each group has a number of rows alone: name columns, or ask for count"
        raise WorkflowError(Code.PARAMETER_WRONG, sentence)


def grouping_columns(artifact: Artifact) -> tuple[str, ...]:
    """The columns whose values name groups in a result."""
    found: list[str] = []
    for step in artifact.steps:
        parameters = read_parameters(operation(step.operation), step.parameters)
        if isinstance(parameters, GroupParameters):
            found += parameters.by
    return tuple(dict.fromkeys(found))


def _check_connections(steps: tuple[Step, ...]) -> None:
    if (steps[0].kind, steps[-1].kind) != ("initialize", "finalize"):
        raise _malformed("the steps begin with initialize and end with finalize")
    for step, following in pairwise(steps):
        expected = CONNECTIONS.get((step.kind, following.kind))
        if expected is None:
            raise _malformed(f"a step {following.kind} cannot follow a step {step.kind}")
        if step.distribution != expected:
            raise _malformed(
                f"between {step.kind} and {following.kind} the distribution is {expected}, not {step.distribution}"
            )
    if steps[-1].distribution != "none":
        raise _malformed("the last step distributes nothing")


def summary_artifact(project: bytes, query: Query, parameters: SummaryParameters) -> Artifact:
    """Row count, mean, variance and histogram of the selected columns, pooled over all holders."""
    bins = {name: {"low": b.low, "high": b.high, "count": b.count} for name, b in parameters.bins.items()}
    return Artifact(
        version=1,
        project=project,
        query=query,
        steps=(
            Step(
                kind="initialize",
                operation="summary.prepare",
                distribution="distribute",
                parameters={"statistics": list(parameters.statistics), **({"bins": bins} if bins else {})},
            ),
            Step(kind="parallel", operation="summary.measure", distribution="collect"),
            Step(kind="finalize", operation="summary.merge"),
        ),
    )


def groups_artifact(project: bytes, query: Query, parameters: GroupParameters) -> Artifact:
    """Row count of each group of rows, and mean and variance of the query's columns in it, pooled over all holders.

    `query` selects the columns to measure, which may be none; the artifact's query selects those that group as well.
    Raises WorkflowError(PARAMETER_WRONG) for a column that is asked to do both.
    """
    for name in query.columns:
        if name in parameters.by:
            raise WorkflowError(
                Code.PARAMETER_WRONG, f"the column {name!r} groups the rows and cannot be summarised as well"
            )
    return Artifact(
        version=1,
        project=project,
        query=Query(columns=(*query.columns, *parameters.by), where=query.where),
        steps=(
            Step(
                kind="initialize",
                operation="groups.prepare",
                distribution="distribute",
                parameters={"by": list(parameters.by), "statistics": list(parameters.statistics)},
            ),
            Step(kind="parallel", operation="groups.measure", distribution="collect"),
            Step(kind="finalize", operation="groups.merge"),
        ),
    )


def probe_artifact(project: bytes, parameters: ProbeParameters, *, gather: bool = False) -> Artifact:
    """So many empty tasks for each participant, through the whole way from order to result. Reads no table. The
    result is how much they made, or, with `gather`, all of it.
    """
    return Artifact(
        version=1,
        project=project,
        query=_NO_QUERY,
        steps=(
            Step(kind="initialize", operation="probe.prepare", distribution="distribute"),
            Step(
                kind="parallel",
                operation="probe.work",
                distribution="collect",
                parameters={"tasks": parameters.tasks, "bytes": parameters.bytes},
            ),
            Step(kind="finalize", operation="probe.gather" if gather else "probe.merge"),
        ),
    )


def question_artifact(project: bytes, query: Query, parameters: SummaryParameters | GroupParameters) -> Artifact:
    """What a person asks, with groups or without."""
    if isinstance(parameters, GroupParameters):
        return groups_artifact(project, query, parameters)
    return summary_artifact(project, query, parameters)


def _malformed(sentence: str) -> WorkflowError:
    return WorkflowError(Code.ARTIFACT_MALFORMED, sentence)
