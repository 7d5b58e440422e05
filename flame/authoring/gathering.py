"""Mistakes in a workflow file: raised in their line, or gathered while the file is read for a check."""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from flame.authoring.faults import Fault, WorkflowFaults, shown
from flame.authoring.node_files import is_generated
from protocol.errors import Code

if TYPE_CHECKING:
    from flame.authoring.workflow import Workflow

_OURS: Final = str(Path(__file__).parents[1]) + os.sep

# The workflow that flame nodes join.
current: ContextVar[Workflow | None] = ContextVar("current workflow", default=None)


class Gathering:
    """What a workflow file makes and does wrong, while it is read for a check."""

    def __init__(self) -> None:
        self.workflows: list[Workflow] = []
        self.faults: list[Fault] = []


gathering: ContextVar[Gathering | None] = ContextVar("gathering", default=None)


def user_line() -> str:
    """ "workflow.py, line 12": the nearest line that is not ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename.startswith(_OURS) or is_generated(frame.f_code.co_filename)):
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{shown(frame.f_code.co_filename)}, line {frame.f_lineno}"


def fault(code: Code, sentence: str, next_step: str, place: str | None = None) -> None:
    tell(Fault(code.value, sentence, next_step, user_line() if place is None else place))


def tell(fault: Fault) -> None:
    gathered = gathering.get()
    if gathered is None:
        raise WorkflowFaults([fault])
    gathered.faults.append(fault)
