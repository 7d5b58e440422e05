"""The schema of a node file, learned by running it until it registers, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from flame.authoring import user_code
from flame.authoring.faults import Fault, WorkflowFaults
from flame.limits import DESCRIBE_LIMIT_S
from flame.ports import NodeSchema
from protocol.errors import Code

_CHILD: Final = "flame.authoring.describing_child"


class Problem(msgspec.Struct, frozen=True):
    """What stands in the place of a schema when the file did not come so far."""

    problem: Fault | None = None


def describe(
    node_file: Path,
    *,
    limit_s: float = DESCRIBE_LIMIT_S,
    cwd: Path | None = None,
    children: user_code.Children | None = None,
) -> NodeSchema:
    """What the file declares. It runs as a program would, in `cwd` (else its own folder), up to `register()`.
    `children`: who can end it meanwhile.

    Raises WorkflowError(NODE_FILE_WRONG, or the code of the declaration that is wrong) with file and line.
    """
    file = node_file.resolve()
    folder = (cwd or file.parent).resolve()
    name = str(file.relative_to(folder) if file.is_relative_to(folder) else file)
    alone = f"run it alone: `python {name}`"
    if not file.is_file():
        raise _wrong(name, "the file does not exist", "correct its name")
    try:
        data = user_code.ask(_CHILD, file, folder, limit_s, quiet=True, children=children)
        problem = msgspec.json.decode(data, type=Problem).problem
        if problem is None:
            return msgspec.json.decode(data, type=NodeSchema)
    except user_code.RanOutError:
        step = "call register() before anything that takes long"
        raise _wrong(name, f"it has not registered within {limit_s:g} s", step) from None
    except user_code.EndedError as ended:
        raise _wrong(name, f"it {ended} before it registered", alone) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _wrong(name, f"its schema does not read: {error}", alone) from error
    raise WorkflowFaults([problem])


def _wrong(name: str, sentence: str, next_step: str) -> WorkflowFaults:
    return WorkflowFaults([Fault(Code.NODE_FILE_WRONG.value, sentence, next_step, name)])
