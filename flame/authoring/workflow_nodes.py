"""Flame nodes as a workflow file sees them: what may be given to their inputs, what their outputs are given to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, Self, TypeVar, get_args

from flame.authoring import gathering
from flame.authoring.class_text import identifier
from flame.authoring.faults import fault_of, listed, nearest
from flame.authoring.gathering import fault, user_line
from flame.graph import Restart
from flame.limits import DEPTH_MAX
from flame.ports import Policy
from flame.types import portable, units
from protocol.errors import Code, WorkflowError

if TYPE_CHECKING:
    from flame.authoring.workflow import Workflow

T = TypeVar("T", covariant=True)

_OWN: Final = frozenset(
    {"name", "place", "assigned", "restarting", "opened"}
)  # attributes of a flame node that are no ports
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)


class Eui:
    """An address in an earlier run, whose value becomes a parameter: `#/last/calib/f0`."""

    def __init__(self, address: str) -> None:
        self.address = address


def eui(address: str) -> Eui:
    """The value at an address, read when the run starts: `target=eui("#/last/calib/f0")`."""
    if not isinstance(address, str) or not address.startswith("#/"):
        fault(
            Code.WORKFLOW_WRONG,
            f"{address!r} is no address in an earlier run",
            "write eui('#/j41/node/output') or eui('#/last/node/output')",
        )
    return Eui(str(address))


class Output(Generic[T]):
    """An output of a flame node, to be given to inputs."""

    def __init__(self, node: FlameNode, name: str, policy: Policy | None = None, depth: int | None = None) -> None:
        self.node = node
        self.name = name
        self.policy = policy
        self.depth = depth

    def as_block(self, depth: int | None = None) -> Output[T]:
        """On this edge the producer waits while `depth` values wait."""
        return self._with("block", depth)

    def as_latest(self, depth: int = 1) -> Output[T]:
        """On this edge exactly the newest `depth` values stay."""
        return self._with("latest", depth)

    def as_spill(self, depth: int | None = None) -> Output[T]:
        """On this edge all values arrive: beyond `depth` they wait in the producer's journal."""
        return self._with("spill", depth)

    def as_drop_new(self, depth: int | None = None) -> Output[T]:
        """On this edge exactly the first `depth` values stay until they are taken; the others are counted."""
        return self._with("drop_new", depth)

    def _with(self, policy: Policy, depth: int | None) -> Output[T]:
        if depth is not None and (type(depth) is not int or not 1 <= depth <= DEPTH_MAX):
            step = f"write a whole number from 1 to {DEPTH_MAX:,}"
            fault(Code.WIRING_WRONG, f"{depth!r} values cannot wait on an edge", step)
            depth = None
        return Output(self.node, self.name, policy, depth)

    def __bool__(self) -> NoReturn:
        raise TypeError("an output has no value while the workflow is written; it has one in the run")

    def __repr__(self) -> str:
        return f"<output {self.node.name}/{self.name}>"


class Inputs:
    """`node.i`: an attribute for each input, to be assigned to."""

    __slots__ = ("_flame_node",)
    _flame_node: FlameNode

    def __init__(self, node: FlameNode) -> None:
        object.__setattr__(self, "_flame_node", node)

    def __setattr__(self, name: str, source: Any) -> None:
        self._flame_node._assign(name, source)

    def __getattr__(self, name: str) -> Any:
        """What was assigned: an Output, an Eui or a value. AttributeError when nothing was."""
        node = self._flame_node
        port = node._input_names().get(name)
        if port in node.assigned:
            return node.assigned[port][0]
        raise AttributeError(f"{node.KIND} {node.name} has nothing assigned to an input {name}")

    def __dir__(self) -> list[str]:
        return list(self._flame_node._input_names())


class Outputs:
    """`node.o`: an attribute for each output."""

    __slots__ = ("_flame_node",)
    _flame_node: FlameNode

    def __init__(self, node: FlameNode) -> None:
        object.__setattr__(self, "_flame_node", node)

    def __setattr__(self, name: str, value: Any) -> None:
        fault(
            Code.WIRING_WRONG,
            f"{self._flame_node.KIND} {self._flame_node.name} was given a value for its output {name!r}",
            "outputs are set by the flame node; write .i.<input> = …",
        )

    def __repr__(self) -> str:
        return f"<outputs of {self._flame_node.name}>"

    def __getattr__(self, name: str) -> Output[Any]:
        node = self._flame_node
        names = {identifier(port): port for port in node.OUTPUTS}
        if name in names:
            return Output(node, names[name])
        if name.startswith("__"):
            raise AttributeError(name)
        fault(
            Code.WIRING_WRONG,
            f"{node.KIND} has no output {name!r}",
            f"{nearest(name, names)}its outputs are {listed(names)}",
        )
        return Output(node, "")

    def __dir__(self) -> list[str]:
        return [identifier(port) for port in self._flame_node.OUTPUTS]


class FlameNode:
    """One flame node of a workflow; the classes in `flame_nodes/` are made from node files.

    `FlameNode(name, workflow, input=source, …)`: it joins `workflow`, else the one that was made last.
    """

    KIND: ClassVar[str] = ""
    FILE: ClassVar[str] = ""
    INPUTS: ClassVar[dict[str, str]] = {}
    OUTPUTS: ClassVar[dict[str, str]] = {}

    def __init__(self, name: str, workflow: Workflow | None = None, /, **inputs: Any) -> None:
        self.name = name
        self.place = user_line()
        self.assigned: dict[str, tuple[Any, str]] = {}  # by input: its source, and where it was assigned
        self.restarting: tuple[Restart, int, float] = ("never", 3, 300.0)
        self.opened: dict[str, tuple[tuple[str, ...], str]] = {}  # by input: who may write besides; its line
        home = workflow if workflow is not None else gathering.current.get()
        if workflow is not None and not hasattr(workflow, "_join"):
            step = "write inputs by their names: gain=3.0"
            fault(Code.WORKFLOW_WRONG, f"{workflow!r} is no workflow for {name!r}", step)
        elif home is None:
            fault(Code.WORKFLOW_WRONG, f"there is no workflow for {name!r}", "make one first: wf = Workflow('name')")
        else:
            home._join(self)
        for port, source in inputs.items():
            self._assign(port, source)

    def __setattr__(self, name: str, value: Any) -> None:
        """A value that would only lie there, and reach no input, is a slip."""
        if name in _OWN:
            object.__setattr__(self, name, value)
            return
        names = self._input_names()
        step = (
            f"write {self.name}.i.{name} = …" if name in names else f"its inputs are {listed(names)}: {self.name}.i.…"
        )
        fault(Code.WIRING_WRONG, f"{self.KIND} {self.name} takes nothing under the name {name!r}", step)

    def __getattr__(self, name: str) -> NoReturn:
        outputs = [identifier(port) for port in self.OUTPUTS]
        ports = ("o", outputs) if name in outputs else ("i", list(self._input_names()))
        hint = f": write .{ports[0]}.{name}" if name in ports[1] else f"; its outputs are {listed(outputs)}: write .o.…"
        raise AttributeError(f"{self.KIND} has no attribute {name!r}{hint}")

    @property
    def i(self) -> Any:
        return Inputs(self)

    @property
    def o(self) -> Any:
        return Outputs(self)

    def restart(self, when: Restart, max: int = 3, within: str = "5min") -> Self:  # noqa: A002
        """Start the program again when it has ended: "on-failure", "always", "never"; `max` times `within` a span."""
        if when not in get_args(Restart):
            fault(Code.WORKFLOW_WRONG, f"{when!r} is no restart policy", "write 'never', 'on-failure' or 'always'")
        elif type(max) is not int or max < 1:
            fault(Code.WORKFLOW_WRONG, f"{max!r} is no number of restarts", "write a whole number from 1")
        else:
            self.restarting = (when, max, _seconds(within))
        return self

    def writable(self, input: str, by: Sequence[str] = ()) -> Self:  # noqa: A002
        """Let `flame write` set a state input without an edge while the run goes on: the user who runs it, and those
        in `by`: names of users, and of groups as "@lab".
        """
        names = self._input_names()
        port = names.get(input, input) if isinstance(input, str) else None
        if port not in self.INPUTS:
            fault(
                Code.WIRING_WRONG,
                f"{self.KIND} has no input {input!r}",
                f"{nearest(str(input), names)}its inputs are {listed(names)}",
            )
        elif not isinstance(by, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in by):
            fault(Code.WORKFLOW_WRONG, f"by={by!r} is no list of names", 'write by=["anna", "@lab"]')
        else:
            self.opened = {**self.opened, port: (tuple(by), user_line())}
        return self

    def __repr__(self) -> str:
        return f"<{self.KIND} {self.name}>"

    @classmethod
    def _input_names(cls) -> dict[str, str]:
        """Input by its name in Python."""
        return {identifier(port): port for port in cls.INPUTS}

    def _assign(self, name: str, source: Any) -> None:
        names = self._input_names()
        if name not in names:
            fault(
                Code.WIRING_WRONG,
                f"{self.KIND} has no input {name!r}",
                f"{nearest(name, names)}its inputs are {listed(names)}",
            )
            return
        if isinstance(source, FlameNode | Outputs | Inputs):
            fault(
                Code.WIRING_WRONG,
                f"{self.name}.{name} was given {source!r}, which is no output and no value",
                "write node.o.<output>",
            )
            return
        if not isinstance(source, Output | Eui):
            try:
                portable.dump(source)
            except WorkflowError as error:
                gathering.tell(fault_of(error, user_line()))
                return
        self.assigned[names[name]] = (source, user_line())


def _seconds(span: str) -> float:
    match = _DURATION.fullmatch(str(span))
    try:
        if match is not None:
            return float(match[1]) * units.conversion(match[2], "s")[0]
    except WorkflowError:
        pass
    fault(Code.WORKFLOW_WRONG, f"{span!r} is no span of time", "write '30s', '5min' or '1h'")
    return 300.0
