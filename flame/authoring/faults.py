"""What is wrong with a workflow: each fault with the line of the user's file; all are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from protocol.errors import Code, FlottaError, WorkflowError


class Fault(msgspec.Struct, frozen=True):
    """`place`: "workflow.py, line 12", "" where no line is to blame. `code`: text of a `Code`."""

    code: str
    sentence: str
    next_step: str = ""
    place: str = ""

    @property
    def text(self) -> str:
        return f"{self.place}: {self.sentence}" if self.place else self.sentence


class WorkflowFaults(WorkflowError):
    """One or several faults as one error; `faults` has each. Its code is that of the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        self.faults = tuple(faults)
        if len(faults) == 1:
            super().__init__(Code(first.code), first.text, next_step=first.next_step)
            return
        lines = (f"  {fault.text}{_step(fault)} [{fault.code}]" for fault in faults)
        super().__init__(
            Code(first.code),
            "\n".join((f"{len(faults)} faults:", *lines)),
            next_step="correct each line; `flame check` looks again",
        )


def fault_of(error: FlottaError, place: str = "") -> Fault:
    return Fault(error.code.value, error.sentence, error.next_step, place)


def raise_any(faults: Sequence[Fault]) -> None:
    """Raises WorkflowFaults unless there are none. The same fault is told once."""
    if faults:
        raise WorkflowFaults(list(dict.fromkeys(faults)))


def nearest(name: str, names: Iterable[str]) -> str:
    """ "did you mean 'target'? " or "": fit to stand before a next step."""
    near = difflib.get_close_matches(name, list(names), 1, 0.6)
    return f"did you mean {near[0]!r}? " if near else ""


def shown(path: str | Path) -> str:
    """A path as people say it: from the current folder, where it lies below it."""
    given = Path(path)
    return str(given.relative_to(Path.cwd()) if given.is_relative_to(Path.cwd()) else given)


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, "none" for none."""
    return ", ".join(names) or "none"


def _step(fault: Fault) -> str:
    return f". Next: {fault.next_step}" if fault.next_step else ""
