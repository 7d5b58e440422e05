"""The command lines of a node's processes. Light: nothing of the node is imported."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from flotta_p2p import exit_codes

# `-P`: the current folder is no place to import from.
_PYTHON: Final = (sys.executable, "-P", "-m")
# By the roles that actors.task_runner and actors.discovery_actor ask for.
CHILD_PROGRAMS: Final = {
    "task": (*_PYTHON, "flotta_p2p.federated.child"),
    "warm-task": (*_PYTHON, "flotta_p2p.federated.child", "--warm"),
    "discovery": (*_PYTHON, "actors.discovery_process"),
}


def launcher_argv(config: Path | None, *, standalone: bool = False, as_json: bool = False) -> list[str]:
    """What runs a node in the foreground: the launcher, which starts the node process and its children.

    `standalone`: in that mode, whatever the file says. `as_json`: why the node cannot start is one JSON document on
    standard output.
    """
    node = [*_PYTHON, "flotta_p2p.node_process", *(("--config", str(config)) if config is not None else ())]
    node += [*(["--standalone"] if standalone else []), *(["--json"] if as_json else [])]
    plan = {"node": node, "children": CHILD_PROGRAMS, "final_codes": exit_codes.FINAL}
    return [*_PYTHON, "actors.launcher", "--plan", json.dumps(plan)]
