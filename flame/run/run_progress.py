"""How each flame node of a run is: while it runs, from a small file beside its sockets that the executor replaces a few
times a second; afterwards from its result. The same shape, so that who asks need not know which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from flame.control import InputCount
from flame.limits import RUN_JSON_BYTES_MAX
from flame.run.run_folder import RunFolder
from flame.run.run_record import RunResult
from flame.run.whole_files import read_whole

_FILE: Final = "progress.json"


class NodeProgress(msgspec.Struct, frozen=True):
    """`state`: what it does, or how it ended. `exit_code`, `signal`, `problem`: of its last process that ended.
    `waits_for`: see `flame.run.waits`.
    """

    state: str
    restarts: int = 0
    exit_code: int | None = None
    signal: int | None = None
    problem: str = ""
    waits_for: str = ""
    inputs: dict[str, InputCount] = {}
    sent: dict[str, int] = {}


class Progress(msgspec.Struct, frozen=True):
    nodes: dict[str, NodeProgress]


def progress_file(sockets: Path) -> Path:
    return sockets / _FILE


def read_progress(run: RunFolder) -> Progress | None:
    """Of a run that goes on. None where its executor tells nothing, or not to this user."""
    try:
        return msgspec.json.decode(read_whole(progress_file(run.sockets), RUN_JSON_BYTES_MAX), type=Progress)
    except (OSError, UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        return None


def progress_at_end(result: RunResult) -> Progress:
    return Progress(
        {
            name: NodeProgress(
                state=node.end,
                restarts=node.restarts,
                exit_code=node.exit_code,
                signal=node.signal,
                problem=node.problem,
                inputs=node.inputs,
                sent=node.sent,
            )
            for name, node in result.nodes.items()
        }
    )
