"""The process in which a workflow file runs: `python -m flame.authoring.loading_child FILE ANSWER`.

It answers with a draft.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from flame.authoring import user_code
from flame.authoring.draft import Answer, Draft
from flame.authoring.faults import Fault, listed, shown
from flame.authoring.gathering import Gathering, gathering
from flame.authoring.node_files import CLASSES_FOLDER
from protocol.errors import Code

_IMPORTED: Final = re.compile(r"cannot import name '(\w+)'")


def main(file: Path, answer: Path) -> None:
    gathered = Gathering()
    gathering.set(gathered)
    unknown_kind = ""
    try:
        draft = _draft(user_code.run(file), file, gathered)
    except SystemExit as end:
        step = "leave out the call of exit()"
        gathered.faults.append(
            Fault(
                Code.WORKFLOW_WRONG.value,
                f"it ended itself with {user_code.exit_of(end)}",
                step,
                user_code.place(end, file),
            )
        )
        draft = None
    except BaseException as error:  # the outermost frame of this process
        unknown_kind = _unknown_kind(error)
        fault = user_code.fault_at(error, file, Code.WORKFLOW_WRONG)
        gathered.faults.append(_with_hint(unknown_kind, fault) if unknown_kind else fault)
        draft = None
    answer.write_bytes(msgspec.json.encode(Answer(draft, tuple(gathered.faults), unknown_kind)))
    sys.stdout.flush()
    os._exit(0)  # threads of the user's do not hold us up


def _draft(names: dict[str, Any], file: Path, gathered: Gathering) -> Draft | None:
    found = [one for one in gathered.workflows if not one.included and any(one is held for held in names.values())]
    if len(found) > 1:
        found = [one for one in found if names.get("wf") is one] or found
    if len(found) == 1:
        return found[0].draft()
    step = "write wf = Workflow('name') at the top"
    sentence = f"it makes no Workflow: {listed(_made(gathered))}" if gathered.workflows else "it makes no Workflow"
    if found:
        step = "call the one that is meant wf, or take the others in with wf.include()"
        sentence = f"it makes {len(found)} workflows: {listed(repr(one.name) for one in found)}"
    gathered.faults.append(Fault(Code.WORKFLOW_WRONG.value, sentence, step, shown(file)))
    return None


def _made(gathered: Gathering) -> list[str]:
    return [f"{one.name!r} has no name in the file" for one in gathered.workflows]


def _unknown_kind(error: BaseException) -> str:
    """The class that was wanted of `flame_nodes`, which does not have it; "" for another error."""
    if isinstance(error, AttributeError) and error.obj is sys.modules.get(CLASSES_FOLDER, error):
        return error.name or ""
    if not isinstance(error, ImportError) or not (error.name or "").startswith(CLASSES_FOLDER):
        return ""
    return found[1] if (found := _IMPORTED.match(error.msg)) else str(error.name).rpartition(".")[2]


def _with_hint(wanted: str, fault: Fault) -> Fault:
    """A class that is not in `flame_nodes`: the nearest, and what to do."""
    package = sys.modules.get(CLASSES_FOLDER)
    names = list(getattr(package, "__all__", ()))
    near = difflib.get_close_matches(wanted, names, 1)
    step = f"did you mean {near[0]}? " if near else ""
    return msgspec.structs.replace(
        fault,
        sentence=f"no node file declares a flame node {wanted!r}",
        next_step=f"{step}{CLASSES_FOLDER} has {listed(names)}; `flame generate` tells of node files that do not read",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
