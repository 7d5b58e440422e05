"""Laboratory workflows: small programs joined by named inputs and outputs.

    import flame
    node = flame.Node("DriftLock", "Keeps a laser on the beat note")

Names are imported when they are first used: a flame node loads neither numpy nor what a workflow needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flame.inputs import Flow as Flow
    from flame.inputs import State as State
    from flame.memory import Memory as Memory
    from flame.message import Record as Record
    from flame.node import Node as Node
    from flame.outputs import Output as Output
    from flame.stopping import Stopped as Stopped
    from flame.workflow import Workflow as Workflow
    from flame.workflow import eui as eui

_HOMES: Final = {
    "Flow": "flame.inputs",
    "Memory": "flame.memory",
    "Node": "flame.node",
    "Output": "flame.outputs",
    "Record": "flame.message",
    "State": "flame.inputs",
    "Stopped": "flame.stopping",
    "Workflow": "flame.workflow",
    "eui": "flame.workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"flame has no {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
