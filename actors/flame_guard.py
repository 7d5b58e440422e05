"""Ends what an executor started when the executor itself is gone, by whatever cause, and makes its hardware safe.

A process of its own, run as a file and not as a module, so that it starts in milliseconds: it imports nothing of ours.
On standard input it hears lines: `+GROUP`, a process group that lives, with the safe program of its flame node behind
it as JSON where there is one; `-GROUP`, one that has ended. When standard input ends, it kills those that live with
all their descendants, removes the folder that held their large arrays in memory, runs their safe programs at once,
each for at most LIMIT_S, and ends.

It holds the lock of the run as long as it lives: nobody takes the run up again before its hardware is safe.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Any


def main(limit_s: float, *folders: str) -> None:
    groups: dict[int, str] = {}  # bounded by the flame nodes of one run
    for line in sys.stdin:
        group, _, safe = line[1:].strip().partition(" ")
        if line[0] == "+":
            groups[int(group)] = safe
        else:
            groups.pop(int(group), None)
    for one in groups:
        kill(one)
    if folders:
        import shutil

        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    safe_programs = [json.loads(safe) for safe in groups.values() if safe]
    if safe_programs:
        make_safe(safe_programs, limit_s)


def make_safe(safe_programs: list[dict[str, Any]], limit_s: float) -> None:
    import subprocess
    import time

    running = []
    for one in safe_programs:
        with contextlib.suppress(OSError), open(one["log"], "ab") as log:  # noqa: PTH123 (pathlib would cost the start)
            running.append(
                subprocess.Popen(
                    (one["python"], one["file"]),
                    cwd=one["folder"],
                    env={**os.environ, **one["variables"]},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
    deadline_s = time.monotonic() + limit_s
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
        kill(process.pid)


def kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # empty by now, or others' since
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
