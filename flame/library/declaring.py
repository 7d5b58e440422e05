"""What may be declared: names, limits, lifetimes of ports. Each error names the port and is at the line that errs."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Container
from typing import Any, Final, TypedDict

import msgspec

from flame.library.reading import reading
from flame.limits import DEPTH_MAX
from flame.ports import MISSING, Given, InputKind, InputPort, Lifetime, OutputPort, Policy
from flame.types import port_types, portable, units
from protocol.errors import Code, WorkflowError
from protocol.limits import NAME_CHARS_MAX

Limits = tuple[float | None, float | None]

_POLICIES: Final = ("block", "latest", "drop_new", "spill")
_KEPT_FOR: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|d)", re.ASCII)
_SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_RESERVED: Final = ("time",)  # of `out.set(..., time=...)`


class InputOptions(TypedDict, total=False):
    """What may be said of an input. `unit`: as "MHz". `limits`: lowest and highest value, None for open."""

    unit: str
    doc: str
    default: Any
    limits: Limits
    depth: int
    policy: Policy


class OutputOptions(TypedDict, total=False):
    """What may be said of an output. `durable`: each set waits until it is on the disk."""

    unit: str
    doc: str
    durable: bool


class FiniteOptions(OutputOptions, total=False):
    """`keep`: seconds, or a text such as "7d"; 0 for until the next run of the workflow has ended."""

    keep: float | str


def check_name(name: object, taken: Container[str], what: str) -> None:
    """`what`: "input" or "output". Raises WorkflowError(PORT_WRONG)."""
    if not isinstance(name, str) or not (name.isidentifier() and name.isascii() and len(name) <= NAME_CHARS_MAX):
        raise wrong(
            f"{name!r} is no name of an {what}",
            f"write up to {NAME_CHARS_MAX} letters, digits and _, no digit first",
        )
    if keyword.iskeyword(name) or name.startswith("_") or name in _RESERVED:
        raise wrong(f"{name!r} cannot be the name of an {what}: it means something else", "take another name")
    if name in taken:
        raise wrong(f"the {what} {name!r} is declared twice", "give one of them another name")


def input_port(
    name: str,
    kind: InputKind,
    declared: object,
    *,
    depth: int,
    policy: Policy,
    unit: str = "",
    doc: str = "",
    default: Any = MISSING,
    limits: Limits = (None, None),
) -> InputPort:
    """Raises WorkflowError(PORT_WRONG)."""
    text = _type(name, declared, unit)
    if policy not in _POLICIES:
        raise wrong(f"the input {name!r} has the policy {policy!r}", f"write one of {', '.join(_POLICIES)}")
    if type(depth) is not int or not 1 <= depth <= DEPTH_MAX:
        step = f"write how many values may wait, from 1 to {DEPTH_MAX:,}"
        raise wrong(f"the input {name!r} has the depth {depth!r}", step)
    port = InputPort(name, kind, text, unit, doc, MISSING, _limits(name, limits), policy, depth)
    return port if default is MISSING else _with_default(port, default)


def output_port(
    name: str,
    lifetime: Lifetime,
    declared: object,
    *,
    unit: str = "",
    doc: str = "",
    keep: float | str = 0.0,
    durable: bool = False,
) -> OutputPort:
    """Raises WorkflowError(PORT_WRONG)."""
    return OutputPort(name, lifetime, _type(name, declared, unit), unit, doc, _keep_s(name, keep), durable)


def wrong(sentence: str, next_step: str) -> WorkflowError:
    return WorkflowError(Code.PORT_WRONG, sentence, next_step=next_step)


def _type(name: str, declared: object, unit: str) -> str:
    try:
        units.check(unit)
        return port_types.canonical(declared)
    except WorkflowError as error:
        raise wrong(f"{name!r}: {error.sentence}", error.next_step) from None


def _limits(name: str, limits: Limits) -> Limits:
    try:
        low, high = (None if limit is None else float(limit) for limit in limits)
    except (TypeError, ValueError):
        raise wrong(f"the input {name!r} has the limits {limits!r}", "write (lowest, highest), None for open") from None
    if any(limit is not None and math.isnan(limit) for limit in (low, high)) or (
        low is not None and high is not None and low > high
    ):
        raise wrong(f"the input {name!r} has the limits {limits!r}", "write the lower one first")
    return low, high


def _with_default(port: InputPort, value: Any) -> InputPort:
    try:
        checked = value if (read := reading(port)) is None else read(value)
    except WorkflowError as error:
        raise wrong(f"the default of the input {port.name!r}: {error.sentence}", error.next_step) from None
    return msgspec.structs.replace(port, default=Given(portable.dump(checked)))


def _keep_s(name: str, keep: float | str) -> float:
    if isinstance(keep, int | float) and not isinstance(keep, bool) and 0 <= keep < math.inf:
        return float(keep)
    found = _KEPT_FOR.fullmatch(keep) if isinstance(keep, str) else None
    if found is None:
        raise wrong(f"the output {name!r} is kept for {keep!r}", 'write seconds, or a text as "90min", "12h", "7d"')
    return float(found[1]) * _SECONDS[found[2]]
