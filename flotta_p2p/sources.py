"""What the holder's command line knows of the sources of a node: its configuration, and the node if it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotta_p2p.channels import running_status
from flotta_p2p.configuration.schema import Configuration, DataSource
from flotta_p2p.identity import Projects
from protocol.ids import format_project_id


@dataclass(frozen=True)
class KnownSource:
    """One source. `state` is the node's word, or what the file alone tells; `rows` and `columns` None: nobody has
    read it.
    """

    name: str
    path: str
    state: str
    projects: tuple[str, ...]
    rows: int | None = None
    columns: int | None = None
    problem: str = ""
    next_step: str = ""


def running_sources(workdir: Path) -> dict[str, dict[str, Any]] | None:
    """What the node of this work directory says of each of its sources; None when none runs."""
    status = running_status(workdir)
    return None if status is None else {source["name"]: source for source in status["sources"]}


def known_sources(
    configuration: Configuration | None, running: Mapping[str, dict[str, Any]] | None
) -> tuple[KnownSource, ...]:
    """The sources of the configuration, if one was read, and those of the node, if it runs."""
    configured = configuration.datasources if configuration is not None else ()
    names = _project_names(configuration) if configuration is not None else {}
    told = dict(running or {})
    found = []
    for source in configured:
        values = told.pop(source.name, None)
        if values is not None:
            found.append(_of_node(values))
        else:
            found.append(_of_file(source, names[source.name], node_runs=running is not None))
    return (*found, *map(_of_node, told.values()))


def _of_node(values: dict[str, Any]) -> KnownSource:
    return KnownSource(
        name=values["name"],
        path=values["path"],
        state=values["state"],
        projects=tuple(values["projects"]),
        rows=values["rows"],
        columns=values["columns_all"] if values["rows"] is not None else None,
        problem=values["problem"],
        next_step=values["next_step"],
    )


def _of_file(source: DataSource, projects: tuple[str, ...], *, node_runs: bool) -> KnownSource:
    if not source.path.is_file():
        state, problem = "gone", "there is no such file"
        step = "correct the path in the configuration, or put the file back"
    elif node_runs:
        state, problem = "not open", "the node was started before the source was added"
        step = "start the node again"
    else:
        state, problem, step = "not open", "no node runs", f"flotta-p2p data check {source.name}, flotta-p2p up"
    return KnownSource(source.name, str(source.path), state, projects, problem=problem, next_step=step)


def _project_names(configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """The names of the projects that each source is open to; a token that has no name here is told by its id."""
    projects = Projects(configuration)
    projects.read()
    return {
        name: tuple(sorted(projects.names.get(one) or format_project_id(one) for one in reached_by))
        for name, reached_by in projects.sources().items()
    }
