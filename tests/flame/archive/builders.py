"""Runs with journals, for archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flame.archive import Archive, write_archive
from flame.graph import Graph, GraphNode, Parameter
from flame.journal import Journal
from flame.ports import Lifetime, NodeSchema, OutputPort
from flame.run.run_folder import RunFolder
from flame.run.run_record import NodeResult, Provenance, RunDocument, RunResult, Source
from flame.values import encode
from protocol.ids import format_job_id

JOB = format_job_id(bytes(range(32)))


def output(name: str, lifetime: Lifetime = "permanent", **more: Any) -> OutputPort:
    return OutputPort(name, lifetime, **more)


def node(name: str, *outputs: OutputPort, **more: Any) -> GraphNode:
    schema = NodeSchema("Lock", "lock.py", outputs=outputs, description="keeps a laser")
    return GraphNode(name, f"/lab/{name}.py", schema, **more)


def document(*nodes: GraphNode, **more: Any) -> RunDocument:
    return RunDocument(JOB, "j1", Graph("Rabi scan", nodes, description="holds the drive"), 1_000, **more)


def run_folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "flame_runs", "j1")
    run.path.mkdir(parents=True)
    return run


def ended(**nodes: NodeResult) -> RunResult:
    return RunResult(JOB, "j1", "failed", "lock ended", nodes, 1_000, 2_000)


def journal(run: RunFolder, name: str, **streams: Sequence[Any]) -> None:
    """Value `i` of each stream at `10 * i` ns."""
    with Journal.open(run.journal(name), list(streams)) as writer:
        for stream, values in streams.items():
            for i, value in enumerate(values, 1):
                writer.append({stream: encode(value)}, 10 * i)


def archived(tmp_path: Path, values: Sequence[Any]) -> tuple[list[Any], Archive]:
    """The values, through a journal and an archive. The caller closes it."""
    run = run_folder(tmp_path)
    journal(run, "lock", beat=values)
    archive = Archive(write_archive(run, document(node("lock", output("beat"))), None))
    return [one.value for one in archive.read("lock/beat", 1)], archive


__all__ = [
    "NodeResult",
    "Parameter",
    "Provenance",
    "Source",
    "archived",
    "document",
    "ended",
    "journal",
    "node",
    "output",
]
