"""Whether a flame node declares what the run was checked with. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from flame.ports import InputPort, NodeSchema, OutputPort
from protocol.errors import Code, WorkflowError

_Port = InputPort | OutputPort


def check_declared(file: str, then: NodeSchema, now: NodeSchema) -> None:
    """`then`: when the workflow was loaded; `now`: what its program says. Texts for people may differ.

    Raises WorkflowError(NODE_FILE_WRONG) that names what differs.
    """
    differing = "; ".join(_differences(then, now))
    if differing:
        raise WorkflowError(
            Code.NODE_FILE_WRONG,
            f"{file} declares other than when the workflow was checked: {differing}",
            next_step="do not edit it while a run begins, and let its declarations depend on nothing that changes; "
            "`flame check`, then `flame run`",
        )


def _differences(then: NodeSchema, now: NodeSchema) -> Iterator[str]:
    yield from _of_ports("input", then.inputs, now.inputs)
    yield from _of_ports("output", then.outputs, now.outputs)
    if set(then.memory) != set(now.memory):
        yield f"memory is {_listed(now.memory)}, and was {_listed(then.memory)}"
    if then.safe != now.safe:
        yield f"safe is {now.safe!r}, and was {then.safe!r}"


def _of_ports(word: str, then: Sequence[_Port], now: Sequence[_Port]) -> Iterator[str]:
    before, after = ({port.name: port for port in ports} for ports in (then, now))
    yield from (f"{word} {name!r} is gone" for name in before if name not in after)
    yield from (f"{word} {name!r} is new" for name in after if name not in before)
    for name in before:
        if name in after:
            yield from _of_port(f"{word} {name!r}", before[name], after[name])


def _of_port(which: str, then: _Port, now: _Port) -> Iterator[str]:
    for field in then.__struct_fields__:
        before, after = (_text(getattr(port, field)) for port in (then, now))
        if field != "doc" and before != after:
            yield f"{which} has {field} {after}, and had {before}"


def _text(value: object) -> str:
    """As in run.json: a list is a tuple, and 1 is not 1.0."""
    return msgspec.json.encode(value).decode()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
