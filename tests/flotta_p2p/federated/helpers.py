"""Sources and artifacts for the tests of the federated library."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from flotta_p2p.federated import groups
from flotta_p2p.federated.question_file import group_parameters, parse_bins, summary_parameters
from flotta_p2p.federated.summary import measure, merge, prepare
from protocol.plan.artifact import Artifact, Query, artifact_bytes, groups_artifact, read_artifact, summary_artifact
from protocol.plan.filters import parse_filter
from protocol.plan.tasks import DisclosureRules, GroupedSummary, SourceFile, Summary

PROJECT = b"p" * 16
OPEN_RULES = DisclosureRules(minimum_cohort=1, minimum_cell=1)


def source_of(
    folder: Path,
    content: str | bytes,
    *,
    name: str = "patients",
    kind: Literal["csv", "tsv"] = "csv",
    rules: DisclosureRules = OPEN_RULES,
) -> SourceFile:
    """A source whose file holds `content`."""
    path = folder / f"{name}.{kind}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SourceFile(name=name, path=str(path), type=kind, rules=rules)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in (header, *rows))


def quoted(text: str) -> str:
    """The same table with every field in quotes."""
    rows = [",".join(f'"{field}"' for field in row) for row in csv.reader(text.splitlines())]
    return "\n".join(rows) + "\n"


def artifact_of(columns: str, statistics: str, *bins: str, where: str = "") -> Artifact:
    """Through its bytes, as it travels."""
    query = Query(columns=tuple(columns.split(",")), where=parse_filter(where) if where else None)
    artifact = summary_artifact(PROJECT, query, summary_parameters(statistics, parse_bins(bins)))
    return read_artifact(artifact_bytes(artifact))


def groups_of(by: str, columns: str = "", statistics: str = "count", where: str = "") -> Artifact:
    """Through its bytes, as it travels."""
    query = Query(columns=tuple(columns.split(",")) if columns else (), where=parse_filter(where) if where else None)
    artifact = groups_artifact(PROJECT, query, group_parameters(statistics, tuple(by.split(","))))
    return read_artifact(artifact_bytes(artifact))


def federated_groups(artifact: Artifact, sources: Sequence[tuple[str, SourceFile]]) -> GroupedSummary:
    settings = groups.prepare(artifact)
    return groups.merge(artifact, [(label, groups.measure(artifact, source, settings)) for label, source in sources])


def federated_summary(artifact: Artifact, sources: Sequence[tuple[str, SourceFile]]) -> Summary:
    settings = prepare(artifact)
    return merge(artifact, [(label, measure(artifact, source, settings)) for label, source in sources])
