"""The node process, with one actor that hangs once: `python -m tests.faults.hanging_node ACTOR FILE …`.

It hangs at its first ping while FILE is there, and takes FILE away: the node that is started again is sound.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from actors.base import Ping
from flotta_p2p import node_process
from tests.faults.handler_list import Handler
from tests.faults.injection import Injected, injecting

HANG_MS = 1_500
STOP_MS = 500


def launcher_argv_of(product: list[str], actor: str, file: Path) -> list[str]:
    """The launcher's command line, with this program for the node's."""
    *command, plan_text = product
    plan = json.loads(plan_text)
    at = plan["node"].index("flotta_p2p.node_process")
    plan["node"] = [sys.executable, "-m", __name__, actor, str(file), *plan["node"][at + 1 :]]
    return [*command, json.dumps(plan)]


def main(actor: str, file: Path, arguments: list[str]) -> int:
    def arm(injected: Injected) -> None:
        if file.exists():
            file.unlink()
            injected.arm(Handler(actor, Ping), "before", None)

    with injecting(hang_ms=HANG_MS, stop_ms=STOP_MS, on_node=arm):
        return node_process.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
