"""Reads a workflow file and all that belongs to it: node files, generated classes, parameters. Every fault is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from flame.authoring import parameters, user_code
from flame.authoring.draft import Answer
from flame.authoring.faults import Fault, WorkflowFaults, raise_any, shown
from flame.authoring.generate import Generated, generate
from flame.authoring.node_files import line_of_kind
from flame.authoring.parameters import ParametersFile
from flame.authoring.wiring import ReadValue, SavedValue, Setting, Wired, wire
from flame.graph import Graph
from flame.limits import WORKFLOW_LIMIT_S
from protocol.errors import Code

_CHILD: Final = "flame.authoring.loading_child"


class Loaded(msgspec.Struct, frozen=True):
    """`wired`: None when the workflow file did not run. `structure_faults`: all but those of the parameters' values."""

    wired: Wired | None
    structure_faults: tuple[Fault, ...]
    file: ParametersFile

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.structure_faults + (self.wired.setting_faults if self.wired else ())

    @property
    def settings(self) -> tuple[Setting, ...]:
        return self.wired.settings if self.wired else ()

    def checked(self) -> Graph:
        """The graph. Raises WorkflowError with all faults."""
        raise_any(self.faults)
        assert self.wired is not None  # else there is a fault
        return self.wired.graph


def load(
    workflow_file: Path, parameters_file: Path | None = None, *, warn: Callable[[str], None] | None = None
) -> Loaded:
    """Faults are in the answer; raised is only WorkflowError(WORKFLOW_WRONG) when there is no such file, and what
    `generate` raises. `parameters_file` and `warn`: as of `flame.authoring.workflow.load_graph`.
    """
    path = workflow_file.resolve()
    if not path.is_file():
        step = "name the workflow file, or make one: `flame new workflow`"
        raise WorkflowFaults([Fault(Code.WORKFLOW_WRONG.value, "the file does not exist", step, shown(workflow_file))])
    generated = generate(path.parent)
    answer = _answer(path)
    faults = _structure_faults(path.parent, generated, answer)
    file, problems = _parameters(path, parameters_file)
    if answer.draft is None:
        return Loaded(None, (*faults, *problems), file)
    wired = wire(answer.draft, path, generated.kinds, file, _reader(path.parent))
    for warning in wired.warnings if warn else ():
        assert warn is not None
        warn(warning)
    if problems or _has_broken(generated, answer):  # what the values are, or what is declared, is not known
        wired = msgspec.structs.replace(wired, setting_faults=())
    return Loaded(wired, (*faults, *problems, *wired.faults), file)


def _answer(path: Path) -> Answer:
    try:
        data = user_code.ask(_CHILD, path, path.parent, WORKFLOW_LIMIT_S, quiet=False)
        return msgspec.json.decode(data, type=Answer)
    except user_code.RanOutError:
        sentence = f"it still runs after {WORKFLOW_LIMIT_S:g} s"
    except user_code.EndedError as ended:
        sentence = f"it {ended}"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        sentence = f"its answer does not read: {error}"
    step = "a workflow file only makes a Workflow and joins flame nodes"
    return Answer(None, (Fault(Code.WORKFLOW_WRONG.value, sentence, step, shown(path)),))


def _structure_faults(folder: Path, generated: Generated, answer: Answer) -> list[Fault]:
    """Those of node files that matter, and those of the workflow file: where one is the cause of the other, the cause
    alone.
    """
    if answer.draft is None:
        causes = [
            fault
            for file, faults in generated.broken.items()
            if answer.unknown_kind and line_of_kind(folder / file, answer.unknown_kind)
            for fault in faults
        ]
        return [*causes, *answer.faults[:-1]] if causes else [*generated.faults, *answer.faults]
    used = {node.kind for node in answer.draft.nodes}
    files = {kind.file for name, kind in generated.kinds.items() if name in used}
    broken = [fault for file, faults in generated.broken.items() if file in files for fault in faults]
    twice = [fault for name, fault in generated.twice.items() if name in used]
    return [*dict.fromkeys([*broken, *twice]), *answer.faults]


def _has_broken(generated: Generated, answer: Answer) -> bool:
    """Whether the workflow uses a class whose file does not read at the moment: it may declare other than before."""
    used = {node.kind for node in answer.draft.nodes} if answer.draft is not None else set()
    return any(kind.file in generated.broken for name, kind in generated.kinds.items() if name in used)


def _parameters(path: Path, given: Path | None) -> tuple[ParametersFile, tuple[Fault, ...]]:
    file = given or path.parent / parameters.FILE_NAME
    try:
        return parameters.read(file, required=given is not None), ()
    except WorkflowFaults as error:
        return ParametersFile(file), error.faults


def _reader(folder: Path) -> ReadValue:
    def read_value(address: str) -> SavedValue:
        from flame.names.name_space import NameSpace  # it reads journals and archives: only for who asks an address

        space = NameSpace.near(folder)
        value = space.read_value(address)
        entry = next(iter(space.list(address)), None)
        has_unit = entry is not None and entry.kind != "memory"  # what a flame node remembers is declared without one
        return SavedValue(value, entry.unit if entry is not None and has_unit else None)

    return read_value
