"""What the commands of `data` show: values for --json, lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flotta_p2p.commands.output import named, table
from flotta_p2p.sources import KnownSource
from flotta_p2p.table_check import Problem, problems
from protocol.columns import Column, ColumnRules
from protocol.errors import DataError, FlottaError
from protocol.ids import format_id
from protocol.limits import PARTICIPANTS_MAX
from protocol.plan.tasks import SourceFile, TableReport
from protocol.wire.peers import ListedSource, Schema
from protocol.words import many

Offer = tuple[str, ListedSource, Schema | FlottaError]
Words = Sequence[tuple[str, str]]

# --- check ----------------------------------------------------------------------------------------


def report_values(source: SourceFile, report: TableReport, found: Iterable[Problem]) -> dict[str, Any]:
    return {
        "file": source.path,
        "type": source.type,
        "rows": report.rows,
        "columns": [{"name": one.name, "type": one.type, "missing": one.missing} for one in report.columns],
        "problems": problem_values(found),
    }


def report_lines(source: SourceFile, report: TableReport, found: Sequence[Problem]) -> Iterator[str]:
    yield f"{source.path}: {many(report.rows, 'row')}, {many(len(report.columns), 'column')}"
    if report.columns:
        rows = [(one.name, one.type, f"{one.missing:,}") for one in report.columns]
        yield from ("", *table(("column", "type", "missing"), rows, right=frozenset({2})))
    yield ""
    yield from problem_lines(found) or ("Nothing is wrong with it.",)


def problem_values(found: Iterable[Problem]) -> list[dict[str, Any]]:
    return [
        {"problem": one.sentence, "next_step": one.next_step, "code": one.code or "", "stops": one.stops}
        for one in found
    ]


def problem_lines(found: Iterable[Problem]) -> list[str]:
    return [f"{'WRONG' if one.stops else 'note'}: {one.sentence}. Next: {one.next_step}" for one in found]


# --- add ------------------------------------------------------------------------------------------


def added_values(name: str, file: Path, report: TableReport, *, node_runs: bool) -> dict[str, Any]:
    return {
        "name": name,
        "file": str(file),
        "rows": report.rows,
        "columns": len(report.columns),
        "problems": problem_values(problems(report, ColumnRules())),
        "node_runs": node_runs,
        "next_step": "stop the node and start it again: it opens the source then" if node_runs else "flotta-p2p up",
    }


def added_lines(values: dict[str, Any], report: TableReport) -> Iterator[str]:
    size = f"{many(values['rows'], 'row')}, {many(values['columns'], 'column')}"
    yield f"The source {values['name']} ({size}) stands in {values['file']} now."
    yield from problem_lines(problems(report, ColumnRules()))
    yield f"Next: {values['next_step']}. What members may ask of it: flotta-p2p data show {values['name']}"


# --- list and show --------------------------------------------------------------------------------


def source_values(sources: Iterable[KnownSource], *, node_runs: bool) -> dict[str, Any]:
    return {"sources": [_values(one) for one in sources], "node_runs": node_runs}


def _values(one: KnownSource) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": one.state,
        "rows": one.rows,
        "columns": one.columns,
        "projects": list(one.projects),
        "path": one.path,
        "problem": one.problem,
        "next_step": one.next_step,
    }


def source_lines(sources: Sequence[KnownSource]) -> Iterator[str]:
    if not sources:
        yield "No source is configured. Next: flotta-p2p data add NAME FILE --project PROJECT"
        return
    rows = [
        (one.name, one.state, _count(one.rows), _count(one.columns), ",".join(one.projects), one.path)
        for one in sources
    ]
    head, *body = table(("source", "state", "rows", "columns", "projects", "file"), rows, right=frozenset({2, 3}))
    yield head
    for line, one in zip(body, sources, strict=True):
        yield line
        if one.problem:
            yield f"  {one.problem}. Next: {one.next_step}"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def one_values(
    known: KnownSource, words: Words, seen: Sequence[Column] | DataError, found: Sequence[Problem]
) -> dict[str, Any]:
    columns = [] if isinstance(seen, DataError) else [_column(one) for one in seen]
    return {**_values(known), "published": columns, "policy": dict(words), "problems": problem_values(found)}


def one_lines(
    known: KnownSource, words: Words, seen: Sequence[Column] | DataError, found: Sequence[Problem]
) -> Iterator[str]:
    state = f"{known.state}: {known.problem}" if known.problem else known.state
    facts = [("source", known.name), ("file", known.path), ("state", state), ("projects", ", ".join(known.projects))]
    yield from named(facts)
    yield ""
    if isinstance(seen, DataError):
        yield f"It cannot be read: {seen.sentence}. Next: {seen.next_step}"
    elif seen:
        yield "Members of these projects see:"
        rows = [(one.name, one.type, "yes" if one.groups else "no") for one in seen]
        yield from (f"  {line}" for line in table(("column", "type", "groups rows"), rows))
    else:
        yield "Members of these projects see no column of it."
    yield from ("", "Policy:")
    yield from (f"  {line}" for line in table(("about", "rule"), words)[1:])
    yield from ("", *problem_lines(found)) if found else ()


def _column(one: Column) -> dict[str, Any]:
    return {"name": one.name, "type": one.type, "groups": one.groups}


# --- the network ----------------------------------------------------------------------------------


def network_values(offers: Iterable[Offer], more: Mapping[str, int]) -> dict[str, Any]:
    """`more`: project → how many sources the node knows besides."""
    return {"sources": [_offer(*one) for one in offers], "sources_not_shown": dict(more)}


def _offer(project: str, source: ListedSource, told: Schema | FlottaError) -> dict[str, Any]:
    values = {"project": project, "holder": source.name, "node": format_id(source.node), "source": source.source}
    if isinstance(told, FlottaError):
        return {**values, "columns": [], "columns_all": 0, "code": told.code.value, "problem": told.sentence}
    columns = [_column(one) for one in told.columns]
    return {**values, "columns": columns, "columns_all": told.columns_all, "code": told.code, "problem": told.problem}


def network_lines(offers: Sequence[Offer], more: Mapping[str, int]) -> Iterator[str]:
    if not offers:
        yield "No holder of this project is known here. Next: flotta-p2p peers"
    for project, source, told in offers:
        yield f"{source.name}/{source.source}  project {project}, node {format_id(source.node)}"
        yield f"  {_told(told)}"
    for project, count in more.items():
        if count:
            yield f"{many(count, 'more source')} of {project} known and not shown: a node lists {PARTICIPANTS_MAX}."


def _told(told: Schema | FlottaError) -> str:
    if isinstance(told, FlottaError):
        return f"{told.sentence}. Next: {told.next_step}"
    if told.problem:
        return f"cannot be used now: {told.problem} [{told.code}]"
    columns = ", ".join(f"{one.name} ({one.type}{'' if one.groups else ', does not group'})" for one in told.columns)
    more = told.columns_all - len(told.columns)
    return f"{columns or 'no column is open'}{f' and {more} more' if more else ''}"
