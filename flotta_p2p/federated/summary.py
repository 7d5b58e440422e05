"""The summary operations: spell out the order, measure at each holder, pool. `measure` alone loads Polars."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

import msgspec

from flotta_p2p.federated.merging import Labelled, pool
from protocol.errors import Code, WorkflowError
from protocol.plan.artifact import Artifact
from protocol.plan.operations import Bins, SummaryParameters, operation, read_parameters
from protocol.plan.tasks import Measure, Settings, SourceFile, Summary

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


def prepare(artifact: Artifact) -> Settings:
    """The order spelled out, the same bits everywhere.

    Raises WorkflowError when a bin is narrower than doubles are apart.
    """
    parameters = parameters_of(artifact, "summary.prepare", SummaryParameters)
    return Settings(
        columns=artifact.query.columns,
        statistics=parameters.statistics,
        edges={name: bin_edges(name, bins) for name, bins in parameters.bins.items()},
    )


def measure(artifact: Artifact, source: SourceFile, settings: Settings) -> Measure:
    """What one source lets out, under its own rules.

    Raises WorkflowError(RESULT_ALTERED) when `settings` is not what the signed artifact says, and DataError
    for the table.
    """
    if settings != prepare(artifact):
        raise settings_altered()
    from flotta_p2p.federated.measuring import measure_source

    return measure_source(artifact.query, source, settings)


def merge(artifact: Artifact, measures: Sequence[Labelled]) -> Summary:
    """The pooled result with its coverage; labels are those of the participants, in any order.

    Raises DataError(RESULT_ALTERED) naming the holder whose measure makes no sense.
    """
    return pool(prepare(artifact), measures)


def parameters_of(artifact: Artifact, name: str, kind: type[Parameters]) -> Parameters:
    """Those of the operation `name`. Raises WorkflowError(ARTIFACT_MALFORMED) when the artifact has no such step."""
    for step in artifact.steps:
        if step.operation == name:
            parameters = read_parameters(operation(name), step.parameters)
            assert isinstance(parameters, kind)
            return parameters
    raise WorkflowError(Code.ARTIFACT_MALFORMED, f"the artifact has no step {name}")


def settings_altered() -> WorkflowError:
    """The refusal of a scheduler that spelled the order out in another way."""
    sentence = "the settings that came with the task are not those of the signed artifact"
    return WorkflowError(Code.RESULT_ALTERED, sentence, next_step="submit the job to another scheduler")


def bin_edges(column: str, bins: Bins) -> tuple[float, ...]:
    """`bins.count + 1` rising edges, each the exact one rounded once.

    Raises WorkflowError(PARAMETER_WRONG).
    """
    low, width = Fraction(bins.low), (Fraction(bins.high) - Fraction(bins.low)) / bins.count
    edges = tuple(float(low + width * index) for index in range(bins.count + 1))
    if any(edge >= following for edge, following in pairwise(edges)):
        sentence = f'the bins of "{column}" are too narrow: their edges fall together'
        raise WorkflowError(Code.PARAMETER_WRONG, sentence, next_step="ask for fewer bins or a wider range")
    return edges
