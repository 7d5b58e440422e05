"""Laboratory workflows: small programs joined by named inputs and outputs.

    import flame
    node = flame.Node("DriftLock", "Keeps a laser on the beat note")

Names are imported when they are first used: a flame node loads neither numpy nor what a workflow needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flame.authoring.workflow import Workflow as Workflow
    from flame.authoring.workflow import eui as eui
    from flame.edges.message import Record as Record
    from flame.library.inputs import Flow as Flow
    from flame.library.inputs import State as State
    from flame.library.memory import Memory as Memory
    from flame.library.node import Node as Node
    from flame.library.outputs import Output as Output
    from flame.library.stopping import Stopped as Stopped

_HOMES: Final = {
    "Flow": "flame.library.inputs",
    "Memory": "flame.library.memory",
    "Node": "flame.library.node",
    "Output": "flame.library.outputs",
    "Record": "flame.edges.message",
    "State": "flame.library.inputs",
    "Stopped": "flame.library.stopping",
    "Workflow": "flame.authoring.workflow",
    "eui": "flame.authoring.workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"flame has no {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
