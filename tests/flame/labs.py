"""A folder with node files and a workflow, as a person would have it."""

from __future__ import annotations

import textwrap
from pathlib import Path

from flame.authoring.faults import Fault
from flame.authoring.loading import Loaded, load
from flame.graph import Graph, GraphNode
from flame.types.portable import load as value_of

SCOPE = """
    import flame
    node = flame.Node("Scope", "Records traces")
    rate = node.inputs.state("rate", float, unit="MHz", limits=(0, 10), doc="samples")
    gain = node.inputs.state("gain", float, default=1.0)
    trace = node.outputs.permanent("trace", "f8[4]", unit="V")
    count = node.outputs.runtime("count", int)
    node.register()
"""
LOCK = """
    import flame
    node = flame.Node("Lock", "Keeps a laser on the beat note")
    trace = node.inputs.flow("trace", "f8[4]", unit="mV", depth=8)
    target = node.inputs.state("target", float | None, unit="kHz")
    label = node.inputs.state("label", str, default="")
    error = node.outputs.runtime("error", float)
    done = node.outputs.runtime("done", bool)
    node.register()
"""


class Lab:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    def nodes(self) -> Lab:
        self.write("scope.py", SCOPE)
        self.write("lock.py", LOCK)
        return self

    def workflow(self, body: str, name: str = "workflow.py") -> Path:
        """`body` behind the imports and `wf = Workflow("lab")`, which are lines 1 to 3."""
        head = 'from flame import Workflow, eui\nfrom flame_nodes import Lock, Scope\nwf = Workflow("lab")\n'
        return self.write(name, head + textwrap.dedent(body).lstrip("\n"))

    def load(self, body: str, parameters: str = "") -> Loaded:
        if parameters:
            self.write("parameters.json", parameters)
        return load(self.workflow(body))


def texts(faults: tuple[Fault, ...]) -> list[str]:
    return [f"{fault.text} [{fault.code}]" for fault in faults]


def parameter(node: GraphNode, name: str) -> tuple[object, str]:
    """Its value and origin."""
    return next((value_of(one.value), one.origin) for one in node.parameters if one.input == name)


def graph_of(loaded: Loaded) -> Graph:
    return loaded.checked()
