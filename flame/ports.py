"""What a flame node declares: its inputs and outputs, as records. Together they are its schema.

Pure, and cheap to import: no numpy, no socket. `flame.types.port_types` judges values, `flame.library.node`
makes the declarations.
Unknown keys are passed over, so that a schema of a newer flame still reads.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

InputKind = Literal["state", "flow"]
Policy = Literal["block", "latest", "drop_new", "spill"]
Lifetime = Literal["runtime", "finite", "permanent"]

SCHEMA_VERSION: Final = 1


class _Missing(msgspec.Struct, frozen=True, tag="missing"):
    """No default: None may be one."""


class Given(msgspec.Struct, frozen=True, tag="given"):
    """A default or a parameter that is there, None included. `value`: in the form of `flame.types.portable`, so that
    the JSON of a schema keeps NaN, bytes and arrays.
    """

    value: Any


MISSING: Final = _Missing()
Default = _Missing | Given


class InputPort(msgspec.Struct, frozen=True):
    """`type` is the canonical text of a port type. `limits`: lowest and highest value, both allowed, None for open.

    `depth` values may wait at this input; `policy` says what happens to more.
    """

    name: str
    kind: InputKind
    type: str = "any"
    unit: str = ""
    doc: str = ""
    default: Default = MISSING
    limits: tuple[float | None, float | None] = (None, None)
    policy: Policy = "block"
    depth: int = 1_000


class OutputPort(msgspec.Struct, frozen=True):
    """`keep_s`: how long values of a finite output stay, 0 for until the next run of its workflow has ended. `durable`:
    each value waits for the disk.
    """

    name: str
    lifetime: Lifetime = "runtime"
    type: str = "any"
    unit: str = ""
    doc: str = ""
    keep_s: float = 0.0
    durable: bool = False

    @property
    def is_journalled(self) -> bool:
        return self.lifetime != "runtime"


class NodeSchema(msgspec.Struct, frozen=True):
    """What the rest of a workflow has to know of one kind of flame node.

    `name`: of the kind, a Python class name. `file`: base name of the file that declared it. `memory`: names of what it
    remembers. `safe`: file of the program that brings its hardware to a safe state, "" for none.
    """

    name: str
    file: str
    inputs: tuple[InputPort, ...] = ()
    outputs: tuple[OutputPort, ...] = ()
    memory: tuple[str, ...] = ()
    description: str = ""
    icon: str = ""
    safe: str = ""
    version: int = SCHEMA_VERSION

    def input(self, name: str) -> InputPort | None:
        return next((port for port in self.inputs if port.name == name), None)

    def output(self, name: str) -> OutputPort | None:
        return next((port for port in self.outputs if port.name == name), None)
