"""The operations on groups: spell out the order, measure each group at each holder, pool.

`measure` alone loads Polars.
"""

from __future__ import annotations

from collections.abc import Sequence

from flotta_p2p.federated.group_merging import LabelledGroups, pool_groups
from flotta_p2p.federated.summary import parameters_of, settings_altered
from protocol.plan.artifact import Artifact
from protocol.plan.operations import GroupParameters
from protocol.plan.tasks import GroupedSummary, GroupMeasure, GroupSettings, Settings, SourceFile


def prepare(artifact: Artifact) -> GroupSettings:
    """The order spelled out. Raises WorkflowError(ARTIFACT_MALFORMED) when the artifact asks for no groups."""
    parameters = parameters_of(artifact, "groups.prepare", GroupParameters)
    measured = artifact.query.columns[: -len(parameters.by)]
    return GroupSettings(by=parameters.by, each=Settings(columns=measured, statistics=parameters.statistics, edges={}))


def measure(artifact: Artifact, source: SourceFile, settings: GroupSettings) -> GroupMeasure:
    """What one source lets out, under its own rules.

    Raises WorkflowError(RESULT_ALTERED) when `settings` is not what the signed artifact says, and DataError
    for the table.
    """
    if settings != prepare(artifact):
        raise settings_altered()
    from flotta_p2p.federated.grouping import measure_source

    return measure_source(artifact.query, source, settings)


def merge(artifact: Artifact, measures: Sequence[LabelledGroups]) -> GroupedSummary:
    """The pooled groups with their coverage; labels are those of the participants, in any order.

    Raises DataError: RESULT_ALTERED naming the holder whose measure makes no sense, COLUMN_TYPES_DIFFER naming two
    holders whose groups cannot be the same ones.
    """
    return pool_groups(prepare(artifact), measures)
