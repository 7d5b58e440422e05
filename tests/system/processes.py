"""What tests of real processes share: waiting for conditions, looking at processes, the stubs' command lines."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STUB_CHILD = [sys.executable, "-m", "tests.system.stub_child"]
ROLES = {"stub": STUB_CHILD, "stayer": [*STUB_CHILD, "--stay"], "missing": ["/nonexistent/program"]}


def wait_until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    """Return once `condition()` is true; AssertionError when it is not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a dead one that nobody has collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def start_launcher(
    node: list[str], *, environment: dict[str, str], final_codes: tuple[int, ...] = ()
) -> subprocess.Popen[str]:
    """A launcher as a process of its own; its standard error can be read."""
    plan = json.dumps({"node": node, "children": ROLES, "final_codes": list(final_codes)})
    return subprocess.Popen(
        [sys.executable, "-m", "actors.launcher", "--plan", plan],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
