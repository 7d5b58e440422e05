"""Folders of runs as an executor and its flame nodes leave them: real documents, real journals, a real lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flame.graph import Edge, Graph, GraphNode, Parameter
from flame.journal import Journal
from flame.ports import InputPort, NodeSchema, OutputPort
from flame.run.run_folder import RunFolder, claim
from flame.run.run_record import NodeResult, RunDocument, RunEnd, RunResult, to_json
from flame.types.portable import dump
from flame.values import encode
from protocol.ids import JOB_ID_BYTES, format_job_id

BEGAN_NS = 1_795_341_600 * 10**9  # 2026-11-22T10:00Z
SECOND_NS = 10**9

SCOPE = NodeSchema(
    name="Digitiser",
    file="digitiser.py",
    description="Takes records",
    inputs=(InputPort("rate", "state", "float", unit="Hz"),),
    outputs=(
        OutputPort("trace", "permanent", unit="V", doc="one record"),
        OutputPort("level", "runtime", "float", unit="V"),
        OutputPort("queue", "runtime", "int"),
    ),
)
LOCK = NodeSchema(
    name="DriftLock",
    file="drift_lock.py",
    description="Keeps a laser on the beat note",
    inputs=(
        InputPort("trace", "flow", unit="mV"),
        InputPort("gain", "state", "float", doc="integrator gain"),
        InputPort("queue", "flow", "int", policy="spill"),
    ),
    outputs=(
        OutputPort("beat", "permanent", "float", unit="MHz", doc="goes to the archive"),
        OutputPort("error", "runtime", "float", unit="MHz"),
        OutputPort("piezo", "finite", "float", unit="V"),
    ),
    memory=("integral",),
)


def graph(gain: object = 0.2, folder: Path = Path("/nowhere")) -> Graph:
    """A digitiser whose trace, in V, goes to a lock, which wants mV, and a counter that spills."""
    return Graph(
        name="Rabi scan",
        nodes=(
            GraphNode("scope", str(folder / "digitiser.py"), SCOPE, (Parameter("rate", 2e6, "workflow"),)),
            GraphNode("lock", str(folder / "drift_lock.py"), LOCK, (Parameter("gain", dump(gain), "file"),)),
        ),
        edges=(
            Edge("scope", "trace", "lock", "trace", "block", 8, factor=1000.0),
            Edge("scope", "queue", "lock", "queue", "spill", 8),
        ),
        workflow_file=str(folder / "workflow.py"),
    )


class SavedRun:
    """One run below `runs`; `set_values` opens the journal of a flame node, appends and closes it again."""

    def __init__(self, runs: Path, of: Graph | None = None) -> None:
        self.folder: RunFolder = claim(runs)
        self.document = RunDocument(
            id=format_job_id(os.urandom(JOB_ID_BYTES)),
            alias=self.folder.alias,
            graph=of or graph(),
            started_ns=BEGAN_NS,
        )
        self.folder.document.write_bytes(to_json(self.document))
        self.folder.lock.touch()

    def set_values(
        self, node: str, values: Mapping[str, Sequence[Any]], *, memory: Mapping[str, Any] | None = None
    ) -> None:
        """One value of each stream for each second from the beginning on."""
        journal = Journal.open(self.folder.journal(node), self.journalled(node))
        try:
            for name, several in values.items():
                for at, value in enumerate(several):
                    journal.append({name: encode(value)}, BEGAN_NS + at * SECOND_NS)
            if memory is not None:
                kept = {name: encode(value) for name, value in memory.items()}
                journal.append({}, BEGAN_NS, memory=kept)
        finally:
            journal.close()

    def journalled(self, node: str) -> list[str]:
        spilled = [edge.output for edge in self.document.graph.outbound(node) if edge.policy == "spill"]
        schema = self.document.graph.node(node).schema
        return [port.name for port in schema.outputs if port.is_journalled or port.name in spilled]

    def end(
        self, end: RunEnd = "succeeded", after_s: int = 60, nodes: Mapping[str, NodeResult] | None = None
    ) -> RunResult:
        ended_ns = BEGAN_NS + after_s * SECOND_NS
        result = RunResult(
            id=self.document.id,
            alias=self.folder.alias,
            end=end,
            reason="all flame nodes ended",
            nodes=dict(nodes or {node.name: NodeResult("succeeded", 0) for node in self.document.graph.nodes}),
            started_ns=BEGAN_NS,
            ended_ns=ended_ns,
        )
        self.folder.result.write_bytes(to_json(result))
        return result

    @contextmanager
    def running(self) -> Iterator[None]:
        """As while an executor lives."""
        descriptor = os.open(self.folder.lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)
