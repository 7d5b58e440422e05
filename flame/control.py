"""What an executor and its flame nodes tell each other: one MessagePack map for each message, `kind` names it.

    flame node                         executor
    Hello  ───────────────────────────▶            it runs, and what it declares
           ◀─────────────────────────── Wire       inputs to bind, outputs to connect, parameters
    Wired  ───────────────────────────▶            all its inputs are bound
           ◀─────────────────────────── Connect    all inputs of all nodes are bound: connect the outputs
    Ready  ───────────────────────────▶
           ◀─────────────────────────── Start      all are ready; nothing was sent before, so nothing can be lost
    Beat, Waits  ─────────────────────▶            every BEAT_S
           ◀─────────────────────────── Written    somebody wrote a parameter, which the executor has journalled
           ◀─────────────────────────── Stop       end the loop, run what stands below it
    Bye    ───────────────────────────▶            counters; the exit code tells the rest

The flame node's side is a ZeroMQ DEALER, whose routing id is the name of the flame node, the executor's a ROUTER, over
`ipc` in a folder that only this user may enter. Unknown keys are passed over. A flame node that is started anew goes
through the same messages alone, while the others run.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from flame.ports import NodeSchema, Policy

# How the executor tells a program of a flame node where it is.
ENDPOINT_VARIABLE: Final = "FLAME_CONTROL"  # ZeroMQ address of the executor; absent: the file runs alone
NODE_VARIABLE: Final = "FLAME_NODE"  # name of the flame node
PARENT_VARIABLE: Final = "FLOTTA_PARENT_PID"  # the process that this one must not outlive, as for every child of a node
DESCRIBE_VARIABLE: Final = "FLAME_DESCRIBE"  # "register" writes the schema to this file as JSON and ends the program
DRY_FROM_VARIABLE: Final = "FLAME_DRY_FROM"  # address of a flame node of a saved run, "#/j41/lock": feeds a dry run

BEAT_S: Final = 0.5
AWAITED_S: Final = 0.5  # a program that waits no longer than to its next beat is not worth a word
BEAT_MISSED_S: Final = 5.0  # without a beat: the process is stopped or hangs as a whole


class InputEnd(msgspec.Struct, frozen=True):
    """Where values of an input come from. `address` is bound by this node. `journal`: folder of the producer's journal,
    "" when the output is not journalled; `stream` is its name there. A value arrives as `value * factor + offset`.
    """

    input: str
    producer: str  # "node/output"
    address: str
    policy: Policy
    depth: int
    factor: float = 1.0
    offset: float = 0.0
    journal: str = ""
    stream: str = ""


class OutputEnd(msgspec.Struct, frozen=True):
    """One edge away from an output. `consumer`: "node/input". `ends`: when the program ends in order, the consumer
    learns that no value will follow; false for a flame node that is then started again. `positions`: folder of the
    journal in which a consumer that gets every value keeps how far it is, "" for one that need not get all.
    """

    output: str
    consumer: str
    address: str
    policy: Policy
    depth: int
    ends: bool = True
    positions: str = ""


class WriteStamp(msgspec.Struct, frozen=True):
    """Of the newest value that was written to an input: its number, from 1, and its time. 0: none was."""

    seq: int = 0
    time_ns: int = 0


class Hello(msgspec.Struct, frozen=True, tag_field="kind", tag="hello"):
    schema: NodeSchema
    pid: int


class Wire(msgspec.Struct, frozen=True, tag_field="kind", tag="wire"):
    """`journal`: folder of this node's own journal. `journalled`: outputs to journal. `shared`: folder for payloads of
    large arrays. `parameters`: in the form of `flame.types.portable`. `restarts`: how often this flame node was started
    before, in this run. `writable`: inputs that may be written while it runs; what was written last is in `parameters`.
    """

    run: str
    inputs: tuple[InputEnd, ...]
    outputs: tuple[OutputEnd, ...]
    parameters: dict[str, Any]
    journal: str
    journalled: tuple[str, ...]
    shared: str
    stop_when: tuple[str, ...] = ()
    restarts: int = 0
    writable: dict[str, WriteStamp] = {}


class Wired(msgspec.Struct, frozen=True, tag_field="kind", tag="wired"):
    """`notes`: sentences for people about what its journals had lost."""

    notes: tuple[str, ...] = ()


class Connect(msgspec.Struct, frozen=True, tag_field="kind", tag="connect"):
    pass


class Ready(msgspec.Struct, frozen=True, tag_field="kind", tag="ready"):
    pass


class Start(msgspec.Struct, frozen=True, tag_field="kind", tag="start"):
    pass


class Written(msgspec.Struct, frozen=True, tag_field="kind", tag="written"):
    """A new value of an input that may be written. It holds until one with a higher number comes; it may come twice.

    `value`: in the form of `flame.types.portable`.
    """

    input: str
    value: Any
    seq: int
    time_ns: int


class InputCount(msgspec.Struct, frozen=True):
    """`received` reached the program, `dropped` were left out by the policy, `waiting` wait. `age_s` of the last."""

    received: int = 0
    dropped: int = 0
    waiting: int = 0
    age_s: float = 0.0


class Beat(msgspec.Struct, frozen=True, tag_field="kind", tag="beat"):
    """`blocked_on`: the consumer's input ("node/input") that holds this producer up, "" for none; `sent` by output.

    `written`: for each input that may be written the number of the newest write that has arrived; what is missing
    there is sent again. `awaits`: by input, its producer ("node/output"), while the program has waited for its value
    for AWAITED_S.
    """

    inputs: dict[str, InputCount] = {}
    sent: dict[str, int] = {}
    blocked_on: str = ""
    written: dict[str, int] = {}
    awaits: dict[str, str] = {}


class StopWanted(msgspec.Struct, frozen=True, tag_field="kind", tag="stop_wanted"):
    """The program asked to stop the whole run, or an output of `stop_when` carried a true value."""

    reason: str


class Stop(msgspec.Struct, frozen=True, tag_field="kind", tag="stop"):
    reason: str


class Bye(msgspec.Struct, frozen=True, tag_field="kind", tag="bye"):
    """The last message. `problem`: what went wrong in the program, with file and line, "" when nothing did."""

    beat: Beat
    problem: str = ""


FromNode = Hello | Wired | Ready | Beat | StopWanted | Bye
FromExecutor = Wire | Connect | Start | Written | Stop

_encoder: Final = msgspec.msgpack.Encoder()
_from_node: Final[msgspec.msgpack.Decoder[FromNode]] = msgspec.msgpack.Decoder(FromNode)
_from_executor: Final[msgspec.msgpack.Decoder[FromExecutor]] = msgspec.msgpack.Decoder(FromExecutor)


def encode(message: FromNode | FromExecutor) -> bytes:
    return _encoder.encode(message)


def read_from_node(data: bytes) -> FromNode:
    """Raises msgspec.DecodeError or ValueError for anything else."""
    try:
        message: FromNode = _from_node.decode(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return message


def read_from_executor(data: bytes) -> FromExecutor:
    """Raises msgspec.DecodeError or ValueError for anything else."""
    message: FromExecutor = _from_executor.decode(data)
    return message
