"""A small real network to be killed in: three holders with database files on loopback, the first one schedules."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from actors.children import PARENT_VARIABLE
from actors.failpoints import FOLDER_VARIABLE, Point
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from tests.faults import launcher
from tests.system.jobs import fresh_token, sees
from tests.system.nodes import RunningNode, running_node
from tests.system.processes import is_alive

GONE_LIMIT_S: Final = 2.0  # the promise: nothing outlives its node or launcher by more
WHOLE_LIMIT_S: Final = 60.0
LOOK_S: Final = 0.01
# Programs that a launcher starts.
NODE: Final = "flotta_p2p.node_process"
DISCOVERY: Final = "actors.discovery_process"
TASK: Final = "flotta_p2p.federated.child"
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


class Broken(Exception):
    """A promise was broken; the text is one line that says which."""


class Network:
    """Nodes by name. One thread, that which made it: nodes die with it."""

    def __init__(self, folder: Path) -> None:
        self.token = fresh_token()
        self.folder = folder
        self.shares = penguin_shares()
        self._ports = dict(zip(self.shares, free_ports(len(self.shares)), strict=True))
        self._stacks: dict[str, ExitStack] = {}
        self.nodes: dict[str, RunningNode] = {}

    @property
    def names(self) -> list[str]:
        return list(self.shares)

    @property
    def scheduler(self) -> str:
        return self.names[0]

    def start(self, name: str) -> None:
        """Returns when the node answers."""
        points = self.points(name)
        points.mkdir(parents=True, exist_ok=True)
        stack = ExitStack()
        self.nodes[name] = stack.enter_context(
            running_node(
                self.folder / name,
                name=name,
                port=self._ports[name],
                token=self.token,
                csv_text=self.shares[name],
                database=True,
                join=None if name == self.scheduler else f"127.0.0.1:{self._ports[self.scheduler]}",
                wrap=launcher.argv_of,
                environment={FOLDER_VARIABLE: str(points), PARENT_VARIABLE: str(os.getpid())},
            )
        )
        self._stacks[name] = stack

    def start_all(self) -> None:
        for name in self.names:
            self.start(name)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Until every node answers and the scheduler has all others within reach."""
        for name in self.names:
            self.nodes[name].wait_until(lambda node: node.status(), WHOLE_LIMIT_S)
        self.nodes[self.scheduler].wait_until(lambda node: sees(node, len(self.names) - 1), WHOLE_LIMIT_S)

    def stop(self, name: str) -> None:
        self._stacks.pop(name).close()

    def stop_all(self) -> None:
        for name in list(self._stacks):
            self.stop(name)

    def restart_launcher(self, name: str) -> None:
        """After the end of a launcher, as an operator would."""
        self.stop(name)
        self.start(name)

    def database(self, name: str) -> Path:
        return self.folder / name / "work" / "jobs.sqlite"

    # --- processes -------------------------------------------------------------------------------

    def launcher_pid(self, name: str) -> int:
        return self.nodes[name].process.pid

    def processes(self, name: str) -> set[int]:
        """What the launcher has started: node, discovery and task children. Cheap enough to ask all the time."""
        return children_of(self.launcher_pid(name))

    def find(self, name: str, program: str) -> set[int]:
        """The processes of this launcher that run the module `program`."""
        found = set()
        for pid in self.processes(name):
            with contextlib.suppress(OSError):
                if program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found.add(pid)
        return found

    # --- fail-points -----------------------------------------------------------------------------

    def points(self, name: str) -> Path:
        """Where a file of its name arms a point in the processes of this node."""
        return self.folder / name / "points"

    def arm(self, name: str, point: Point) -> None:
        (self.points(name) / point).touch(exist_ok=False)

    def is_armed(self, name: str, point: Point) -> bool:
        return (self.points(name) / point).exists()

    def disarm(self, name: str, point: Point) -> None:
        (self.points(name) / point).unlink(missing_ok=True)


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A running network. When the block ends every process of it must be gone; Broken when one is not."""
    made = Network(folder)
    with adopting_orphans() as orphans:
        try:
            made.start_all()
            yield made
        finally:
            made.stop_all()
        expect_gone(orphans, "after the end of the whole network")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def expect_gone(left: Callable[[], set[int]], when: str, limit_s: float = GONE_LIMIT_S) -> None:
    """Broken unless none of these processes is left within the limit."""
    deadline = time.monotonic() + limit_s
    while alive := {pid for pid in left() if is_alive(pid)}:
        if time.monotonic() >= deadline:
            raise Broken(f"processes left {limit_s:g} s {when}: {[command_of(pid) for pid in alive]}")
        time.sleep(LOOK_S)


def children_of(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.update(map(int, (thread / "children").read_text().split()))
    return found


def command_of(pid: int) -> str:
    try:
        return f"{pid} " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return str(pid)


@contextmanager
def adopting_orphans() -> Iterator[Callable[[], set[int]]]:
    """Whatever loses its parent becomes a child of this process; the callable tells which have since."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = children_of(os.getpid())
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield lambda: children_of(os.getpid()) - before
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid in children_of(os.getpid()) - before:
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
