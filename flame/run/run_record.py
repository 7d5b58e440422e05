"""What is written down of a run: before it starts, and when it has ended. JSON in its folder; also in the archive."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from flame.control import InputCount
from flame.graph import Graph
from flame.run.run_folder import is_below, is_node_name

Read = TypeVar("Read", "RunDocument", "RunResult")

# How a flame node ended. "stopped": in order, because the run ended. "never-started": the run ended before its turn.
NodeEnd = Literal["succeeded", "stopped", "failed", "killed", "hung", "never-started"]
RunEnd = Literal["succeeded", "failed", "stopped", "timed-out", "interrupted"]


class Source(msgspec.Struct, frozen=True):
    """One file that ran: name in `sources/`, SHA-256 in hex."""

    name: str
    sha256: str


class Provenance(msgspec.Struct, frozen=True):
    """`commit`: of the repository around the workflow, "" for none; `diff`: what differed from it."""

    sources: tuple[Source, ...] = ()
    commit: str = ""
    diff: str = ""
    host: str = ""
    user: str = ""
    versions: dict[str, str] = {}


class RunDocument(msgspec.Struct, frozen=True):
    """`id`: text of a job id. `resumes`: how often the run was taken up again, whatever had ended it before.
    `workdir`: the work directory of the node that executes it, "" when a command does.
    """

    id: str
    alias: str
    graph: Graph
    started_ns: int
    provenance: Provenance = Provenance()
    limit_s: float = 0.0
    resumes: int = 0
    workdir: str = ""


class NodeResult(msgspec.Struct, frozen=True):
    """`exit_code` and `signal`: how its last process ended. `problem`: a sentence with file and line where known.

    `notes`: sentences about what was not as it should be, and went on all the same.
    """

    end: NodeEnd
    exit_code: int | None = None
    signal: int | None = None
    problem: str = ""
    restarts: int = 0
    inputs: dict[str, InputCount] = {}
    sent: dict[str, int] = {}
    notes: tuple[str, ...] = ()


class WriteCount(msgspec.Struct, frozen=True):
    """How often an input was written while the run went on. `authors`: how often by each."""

    values: int = 0
    last_ns: int = 0
    authors: dict[str, int] = {}


class RunResult(msgspec.Struct, frozen=True):
    """`exit_code` of `flame run`: 0 only for "succeeded" and "stopped". `written`: by "node/input"."""

    id: str
    alias: str
    end: RunEnd
    reason: str
    nodes: dict[str, NodeResult]
    started_ns: int
    ended_ns: int
    archive: str = ""
    written: dict[str, WriteCount] = {}

    @property
    def exit_code(self) -> int:
        return 0 if self.end in ("succeeded", "stopped") else 1


def to_json(record: RunDocument | RunResult | Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def read_document(data: bytes) -> RunDocument:
    """Raises msgspec.DecodeError, also for names that lead out of the folder of the run."""
    document = _read(data, RunDocument)
    for node in document.graph.nodes:
        if not is_node_name(node.name):
            raise msgspec.ValidationError(f"{node.name!r} is no name of a flame node")
    for source in document.provenance.sources:
        if not is_below(source.name):
            raise msgspec.ValidationError(f"{source.name!r} is no file of the run")
    return document


def read_result(data: bytes) -> RunResult:
    """Raises msgspec.DecodeError."""
    return _read(data, RunResult)


def _read(data: bytes, kind: type[Read]) -> Read:
    try:
        return msgspec.json.decode(data, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
