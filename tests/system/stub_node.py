"""A node that spawns what it is told and writes down what happens: `python -m tests.system.stub_node LOG CHILD…`.

Each CHILD is KEY:ROLE:kill|keep. One line of JSON per event is appended to LOG. SIGTERM ends it with STUB_CODE.
SIGUSR1 makes it kill the children that it found kept.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from actors.adapters.processes import LauncherSpawner
from actors.child_bootstrap import adopt_parent_death, parent_pid
from actors.ports import LauncherGone, SpawnerEvent
from protocol.limits import CHILD_MEMORY_BYTES_MAX


def main(log: Path, children: list[str]) -> int:
    done = threading.Event()

    def write(event: str, **details: object) -> None:
        with log.open("a") as file:
            file.write(json.dumps({"event": event, "node": os.getpid(), **details}) + "\n")

    def on_event(event: SpawnerEvent) -> None:
        details = {name: getattr(event, name) for name in event.__struct_fields__}
        write(type(event).__name__, **details)
        if isinstance(event, LauncherGone):
            done.set()

    def kill_kept() -> None:
        for key in spawner.kept:
            spawner.kill(key)

    if os.environ.get("STUB_IGNORES_STOP"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: done.set())
    write("NodeStarted", environment=dict(os.environ))
    spawner = LauncherSpawner.of_this_process(on_event)
    signal.signal(signal.SIGUSR1, lambda *_: kill_kept())
    write("Kept", kept=dict(spawner.kept))
    for child in children:
        key, role, on_node_death = child.split(":")
        if key not in spawner.kept:
            spawner.spawn(
                key,
                role,
                on_node_death="keep" if on_node_death == "keep" else "kill",
                rss_bytes_max=CHILD_MEMORY_BYTES_MAX,
            )
    done.wait()
    spawner.stop()
    return int(os.environ.get("STUB_CODE", "0"))


if __name__ == "__main__":
    adopt_parent_death(parent_pid())
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
