"""The words of older node files: one flame node for the process, inputs by name, data of a dry run by `inputs.set`.

    from flame import nodeio
    nodeio.context(name="Adder", description="Adds one")
    inputs, outputs = nodeio.Inputs(), nodeio.Outputs()
    inputs.stream("number", description="what to add to")
    outputs.define("sum", description="one more", retention=2)
    inputs.set(number=1)
    nodeio.register()
    while nodeio.status.active:
        outputs.set(sum=inputs.get("number") + 1)

New files write `flame.Node`. What differs from before: the data of a dry run must fit the declarations and never define
a type, and nothing ends the program behind its back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flame.library import declaring, program
from flame.library.dry_run import DryRun
from flame.library.inputs import Input
from flame.library.node import Node
from flame.library.stopping import Stopped
from protocol.errors import Code, WorkflowError

_LIFETIMES: Final = ("runtime", "finite", "permanent")  # by the old number of retention


class _Process:
    """The one flame node of this process, and its data of a dry run."""

    node: Node | None = None
    dry: DryRun | None = None
    waiting: list[tuple[str, Any]] = []


def context(name: str, description: str = "", icon: str = "") -> None:
    """Name the flame node of this process; before all else. Again, it begins a new one, as in a notebook."""
    _Process.node, _Process.dry, _Process.waiting = Node(name, description, icon=icon), None, []


def register() -> None:
    """As `Node.register`; then the data of the dry run are fed, when the file runs alone."""
    node = _node()
    node.register()
    _Process.dry = node.dry_run()
    _feed_waiting()


def terminate_workflow() -> None:
    """Ask for the end of the whole run, in order."""
    _node().stop_workflow(f"{_node().name} asked for it")


def terminate_node() -> None:
    """Leave this program, quietly, by the exception that it raises."""
    raise Stopped(f"{_node().name} ended itself")


class _Status:
    @property
    def active(self) -> bool:
        """As `Node.active`."""
        return _node().active


status: Final = _Status()


class Inputs:
    """Inputs of the flame node of this process. Each declaration gives the function that reads the input."""

    def state(self, name: str, description: str = "", units: str = "", **about: Any) -> Callable[[], Any]:
        return _node().inputs.state(name, doc=description, unit=units, **about).get

    def flow(self, name: str, description: str = "", units: str = "", **about: Any) -> Callable[[], Any]:
        return _node().inputs.flow(name, doc=description, unit=units, **about).get

    def stream(self, name: str, description: str = "", units: str = "", **about: Any) -> Callable[[], Any]:
        return self.flow(name, description, units, **about)

    def get(self, name: str) -> Any:
        return self._handle(name).get()

    def updated(self, name: str) -> bool:
        return self._handle(name).updated()

    def set(self, **values: Any) -> None:
        """One more value for each of these inputs in a dry run, None included. Within a run it does nothing."""
        for name in values:
            self._handle(name)
        _Process.waiting.extend(values.items())
        if _Process.dry is not None:
            _feed_waiting()

    def reset_all_dry_run_data(self) -> None:
        """Forget what was set and not read yet. Parameters of a run stay as they are."""
        _Process.waiting.clear()
        if _Process.dry is not None:
            _Process.dry.forget()

    @staticmethod
    def _handle(name: str) -> Input[Any]:
        return _node().inputs[name]


class Outputs:
    """Outputs of the flame node of this process."""

    def define(self, name: str, units: str = "", description: str = "", retention: int = 0) -> None:
        """`retention` 0: for other flame nodes only; 1: kept until the next run; 2: in the archive too."""
        if type(retention) is not int or not 0 <= retention <= 2:
            raise declaring.wrong(f"the output {name!r} has the retention {retention!r}", "write 0, 1 or 2")
        getattr(_node().outputs, _LIFETIMES[retention])(name, unit=units, doc=description)

    def set(self, **values: Any) -> None:
        _node().outputs.set(**values)


def _node() -> Node:
    if _Process.node is None:
        program.watch()
        raise WorkflowError(
            Code.NODE_FILE_WRONG,
            "there is no flame node in this process yet",
            next_step='begin with nodeio.context(name="…")',
        )
    return _Process.node


def _feed_waiting() -> None:
    assert _Process.dry is not None
    waiting, _Process.waiting = _Process.waiting, []
    for name, value in waiting:
        _Process.dry.feed(_node().inputs[name], iter([value]))
