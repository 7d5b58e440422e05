"""Jobs and results in words, tables and plain values. Numbers stand exactly as they were computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from flotta_p2p.commands.output import code_mark, table
from protocol.ids import NODE_ID_BYTES, format_id, format_job_id, format_project_id, short_job_id
from protocol.plan.tasks import ColumnSummary, Histogram, SourceCoverage, Summary
from protocol.wire.jobs import ENDED, Cause, JobStatus

_BAR_CHARS: Final = 30  # of the fullest bin: a histogram's line stays below 80 characters
_PARTS: Final = " ▏▎▍▌▋▊▉"  # eighths of a character
SUCCEEDED: Final = "succeeded"


# --- jobs --------------------------------------------------------------------------------------


def cause_of(status: JobStatus) -> Cause:
    """Why the ended job did not succeed."""
    job = short_job_id(status.job_id)
    return status.cause or Cause(code=status.state, sentence=f"the job {job} is {status.state}")


def job_sentence(status: JobStatus) -> str:
    """The state of a job in one sentence, with node, cause and next step where there are any."""
    job = f"job {short_job_id(status.job_id)}"
    tasks = f"{status.tasks_done} of {status.tasks_all} tasks done"
    if status.state not in ENDED:
        doing = f"is {status.state} and being cancelled" if status.cancelling else f"is {status.state}"
        return f"{job} {doing}: {tasks}. Next: flotta-p2p job wait {short_job_id(status.job_id)}"
    after = f"after {(status.ended_ms - status.submitted_ms) / 1000:g} s"
    if status.state == SUCCEEDED:
        return f"{job} succeeded {after}, {tasks}."
    cause = status.cause
    if cause is None:
        return f"{job} {'was ' if status.state == 'cancelled' else ''}{status.state} {after}, {tasks}."
    where = f" at node {cause.node_name}" if cause.node_name else ""
    source = f", source {cause.source}" if cause.source else ""
    step = f" Next: {cause.next_step}" if cause.next_step else ""
    return f"{job} {status.state}{where}{source}: {cause.sentence.rstrip('.')}.{step}{code_mark(cause.code)}"


def job_values(status: JobStatus) -> dict[str, Any]:
    """The status for --json."""
    cause = status.cause
    return {
        "job": format_job_id(status.job_id),
        "state": status.state,
        "cancelling": status.cancelling,
        "project": format_project_id(status.project),
        "submitter": format_id(status.submitter),
        "scheduler": format_id(status.scheduler),
        "epoch": status.epoch,
        "submitted_ms": status.submitted_ms,
        "ended_ms": status.ended_ms or None,
        "tasks_done": status.tasks_done,
        "tasks_all": status.tasks_all,
        "holders": status.holder_names,
        "durable": status.durable,
        "cause": None if cause is None else {**msgspec.structs.asdict(cause), "node": _id(cause.node)},
        "tasks": [{**msgspec.structs.asdict(task), "node": _id(task.node)} for task in status.tasks],
    }


def job_lines(status: JobStatus) -> Iterator[str]:
    """All that is known of one job."""
    yield job_sentence(status)
    yield f"id         {format_job_id(status.job_id)}"
    yield f"project    {format_project_id(status.project)}"
    yield f"submitter  {format_id(status.submitter)}"
    yield f"scheduler  {format_id(status.scheduler)}, epoch {status.epoch}"
    yield f"submitted  {_when(status.submitted_ms)}" + (f", ended {_when(status.ended_ms)}" if status.ended_ms else "")
    names = status.holder_names
    yield f"holders    {', '.join(holder_name(label, names) for label in names) or 'none yet'}"
    if status.tasks:
        rows = [
            (
                str(task.index),
                task.operation,
                holder_name(f"{_id(task.node)}/{task.source}", status.holder_names) if task.source else "scheduler",
                task.state,
                str(task.attempt),
            )
            for task in status.tasks
        ]
        yield ""
        yield from table(("task", "operation", "at", "state", "attempt"), rows, right=frozenset({0, 4}))


def jobs_lines(statuses: tuple[JobStatus, ...]) -> list[str]:
    if not statuses:
        return ["No jobs. Next: flotta-p2p submit"]
    rows = [
        (
            short_job_id(one.job_id),
            one.state,
            f"{one.tasks_done}/{one.tasks_all}",
            _when(one.submitted_ms),
            f"{one.cause.node_name}: {one.cause.sentence}".removeprefix(": ") if one.cause else "",
        )
        for one in statuses
    ]
    return table(("job", "state", "tasks", "submitted", "cause"), rows)


def _id(node: bytes) -> str:
    return format_id(node) if len(node) == NODE_ID_BYTES else ""


def _when(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def holder_name(label: str, names: dict[str, str]) -> str:
    """`Dream/penguins`: the node's name and its source, for people."""
    node, _, source = label.partition("/")
    return f"{names.get(label, node)}/{source}"


# --- results -----------------------------------------------------------------------------------


def result_values(job_id: bytes, summary: Summary, names: dict[str, str]) -> dict[str, Any]:
    """The result for --json: floats in Python's shortest exact form; null for what is withheld."""
    values = msgspec.to_builtins(summary)
    for name, column in summary.columns.items():
        values["columns"][name] |= more_of(column)
    for one in values["coverage"]["by_source"]:
        one["name"] = names.get(one["source"], "")
    return {"job": format_job_id(job_id), "state": SUCCEEDED, **without_zeros(values)}


def more_of(column: ColumnSummary) -> dict[str, Any]:
    """What --json tells of a column besides, or in place of, its fields: a count that no source let out is no zero."""
    withheld: dict[str, Any] = {"present": None, "missing": None} if not column.sources else {}
    return {"sd": sd_of(column), "withheld": not column.sources, **withheld}


def without_zeros(values: dict[str, Any]) -> dict[str, Any]:
    """The result with null as its sums over sources, when not one of them let anything out."""
    if not values["coverage"]["sources_counted"]:
        values["rows"] = values["coverage"]["rows"] = None
    return values


def result_lines(summary: Summary, names: dict[str, str]) -> Iterator[str]:
    """A table of the columns, their histograms, who took part, and what was withheld and why."""
    coverage = summary.coverage
    if coverage.sources_counted:
        yield f"{coverage.rows} rows of {coverage.sources_counted} of {coverage.sources} sources"
    else:
        yield f"No rows: {all_withheld(coverage.sources)}"
    if coverage.sources_counted:
        yield ""
        yield from _columns_table(summary.columns)
    for name, column in summary.columns.items():
        if column.histogram is not None:
            yield ""
            yield from _histogram_lines(name, column.histogram)
    yield ""
    rows = [_coverage_row(one, names) for one in coverage.by_source]
    yield from table(("source", "rows", "cells withheld"), rows, right=frozenset({1, 2}))
    yield ""
    yield _withheld_line(summary, names)


def all_withheld(sources: int) -> str:
    """When no source let anything out."""
    which = "the only source" if sources == 1 else f"every one of the {sources} sources"
    return (
        f"{which} is withheld; texts are compared letter by letter, and fewer rows than a holder's minimum never leave"
    )


def _columns_table(columns: dict[str, ColumnSummary]) -> list[str]:
    found = list(columns.values())
    statistics = [
        (header, values)
        for header, values in (
            ("mean", [column.mean for column in found]),
            ("variance", [column.variance for column in found]),
            ("sd", [sd_of(column) for column in found]),
        )
        if any(value is not None for value in values)
    ]
    headers = ("column", "present", "missing", *(header for header, _ in statistics))
    rows = [
        (
            name,
            *((str(column.present), str(column.missing)) if column.sources else ("withheld", "withheld")),
            *(number(values[at], column) for _, values in statistics),
        )
        for at, (name, column) in enumerate(columns.items())
    ]
    return table(headers, rows, right=frozenset(range(1, len(headers))))


def number(value: float | None, column: ColumnSummary) -> str:
    """A statistic of a column in a table."""
    if value is None:
        return "undefined" if column.sources else "withheld"
    return repr(value)


def sd_of(column: ColumnSummary) -> float | None:
    """The standard deviation, the root of the variance."""
    return None if column.variance is None else math.sqrt(column.variance)


def _histogram_lines(name: str, histogram: Histogram) -> Iterator[str]:
    most = max((*histogram.counts, 1))
    last = len(histogram.counts) - 1
    rows = [
        (
            f"[{low!r}, {high!r}{']' if at == last else ')'}",
            str(count),
            _bar(count, most),
        )
        for at, (low, high, count) in enumerate(
            zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
        )
    ]
    hidden = histogram.cells_withheld
    more = f"; {hidden} cells of holders are withheld, so that the counts are at least these" if hidden else ""
    yield f"{name}: {histogram.below} below, {histogram.above} above{more}"
    yield from (f"  {line}" for line in table(("bin", "count", ""), rows, right=frozenset({1})))


def _bar(count: int, most: int) -> str:
    whole, eighths = divmod(count * _BAR_CHARS * 8 // most, 8)
    bar = "█" * whole + _PARTS[eighths].strip()
    return bar or ("▏" if count else "")


def _coverage_row(coverage: SourceCoverage, names: dict[str, str]) -> tuple[str, str, str]:
    rows = "withheld" if coverage.rows is None else str(coverage.rows)
    return holder_name(coverage.source, names), rows, str(coverage.cells_withheld)


def _withheld_line(summary: Summary, names: dict[str, str]) -> str:
    parts: list[str] = []
    for one in summary.coverage.by_source:
        name = holder_name(one.source, names)
        if one.rows is None:
            parts.append(f"{name} withheld everything ({one.withheld})")
        elif one.columns_withheld:
            parts.append(f"{name} withheld {', '.join(one.columns_withheld)} (too few values for its minimum cohort)")
    cells = summary.coverage.cells_withheld
    if cells:
        parts.append(
            f"{cells} histogram cells are withheld (fewer rows than the holder's minimum cell, "
            "and cells that would give those away)"
        )
    return "; ".join(parts) + "." if parts else "Nothing was withheld."
