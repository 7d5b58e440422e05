"""What a workflow file says, as records: the answer of the process that ran it, before anything of it was checked."""

from __future__ import annotations

from typing import Any

import msgspec

from flame.authoring.faults import Fault
from flame.graph import Restart
from flame.ports import Policy


class FromOutput(msgspec.Struct, frozen=True, tag="output"):
    """An edge. `policy` and `depth`: of this edge alone, None for those of the input."""

    node: str
    output: str
    policy: Policy | None = None
    depth: int | None = None


class FromValue(msgspec.Struct, frozen=True, tag="value"):
    """A parameter. `value`: in the form of `flame.types.portable`."""

    value: Any


class FromAddress(msgspec.Struct, frozen=True, tag="address"):
    """A parameter that is read from an earlier run."""

    address: str


Source = FromOutput | FromValue | FromAddress


class DraftInput(msgspec.Struct, frozen=True):
    """`place`: "workflow.py, line 12", where it was assigned last."""

    input: str
    source: Source
    place: str


class DraftWritable(msgspec.Struct, frozen=True):
    """An input that is opened for writing. `input` and `by`: as they were given."""

    input: str
    by: tuple[str, ...]
    place: str


class DraftNode(msgspec.Struct, frozen=True):
    """`kind`: name of its class. `place`: where it was made."""

    name: str
    kind: str
    place: str
    inputs: tuple[DraftInput, ...] = ()
    restart: Restart = "never"
    restart_max: int = 3
    within_s: float = 300.0
    writable: tuple[DraftWritable, ...] = ()

    def input(self, name: str) -> DraftInput | None:
        return next((one for one in self.inputs if one.input == name), None)


class DraftStop(msgspec.Struct, frozen=True):
    node: str
    output: str
    place: str


class Draft(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    nodes: tuple[DraftNode, ...] = ()
    stop_when: tuple[DraftStop, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What the process that ran the workflow file writes: `draft` is None when the file made no workflow.

    `unknown_kind`: the class that it wanted from `flame_nodes` when its import ended it; the last fault tells of that.
    """

    draft: Draft | None = None
    faults: tuple[Fault, ...] = ()
    unknown_kind: str = ""
