"""One flame node of a run: what is known of its newest process, how that ended, and whether it may be started anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.limits import FLAME_COMPUTING_MS
from protocol.machines.contract import Now
from protocol.machines.flame_events import NodeEnd, NodePlan

UNCLEAN: Final = ("failed", "killed", "hung")
# What is said of a flame node whose wait is over.
OVERDUE: Final[Mapping[str, str]] = {
    "starting": "its program did not come to register() within {:g} s",
    "wiring": "it did not join its edges within {:g} s",
    "connecting": "it did not join its edges within {:g} s",
    "stopping": "its program did not end within {:g} s of being asked to stop",
    "leaving": "its process did not end within {:g} s of its farewell",
}


class FlameNode:
    """One flame node, and what is known of its newest process."""

    def __init__(self, plan: NodePlan) -> None:
        self.plan = plan
        self.state = "waiting"
        self.end: NodeEnd | None = None
        self.problem = ""
        self.restarts = 0
        self.restarted_ns: list[int] = []  # bounded by plan.restart_max
        self.ran = False  # some process of it was told to start
        self.timer = 0  # generation of its one timer
        self.set_ns = self.due_ns = 0  # of the timer
        self.extended = False  # it was set once more, since this process stood still
        self.forget_process()

    def forget_process(self) -> None:
        self.code: int | None = None
        self.signal: int | None = None
        self.story = ""
        self.farewell: str | None = None
        self.blame = ""  # why it was killed by us
        self.hung = False
        self.refused = False  # it was killed since it is not what the run was checked with
        self.greeted = False
        self.begun = False  # it was told to start
        self.told_stop = False
        self.securing = False  # its newest process is that of its safe program
        self.restarting = False
        self.heard_ns = 0
        self.cpu_ms = 0  # when it was measured last

    def measured(self, cpu_ms: int, now: Now) -> None:
        """A flame node that computes is alive, though a library that holds Python's lock may keep it from beating."""
        if cpu_ms - self.cpu_ms >= FLAME_COMPUTING_MS:
            self.heard_ns = now.boot_ns
        self.cpu_ms = cpu_ms

    def verdict(self) -> tuple[NodeEnd, str]:
        if self.blame:
            return ("failed" if self.refused else "hung" if self.hung else "killed"), self.blame
        if self.signal is not None:
            return "killed", joined(f"its process was killed by signal {self.signal}", self.story)
        if self.code is None:
            return "failed", self.story or "its process could not be started"
        if self.farewell or self.code != 0:
            return "failed", self.farewell or self.story or f"its process ended with exit code {self.code}"
        if not self.greeted:
            return "failed", joined("its program ended before it came to register()", self.story)
        if self.farewell is None:
            return "failed", "its process ended with exit code 0, but without a farewell: os._exit ends no flame node"
        if self.told_stop:
            return ("stopped" if self.ran else "never-started"), ""
        if not self.begun:
            return "failed", "its program ended before the run began"
        return "succeeded", ""

    def may_restart(self, now: Now, *, unclean: bool) -> bool:
        plan = self.plan
        if self.refused or plan.restart == "never" or (plan.restart == "on-failure" and not unclean):
            return False
        since_ns = now.boot_ns - plan.within_ms * 1_000_000
        self.restarted_ns = [at_ns for at_ns in self.restarted_ns if at_ns > since_ns]
        if len(self.restarted_ns) >= plan.restart_max:
            if unclean:
                self.problem = joined(self.problem, f"{plan.restart_max} restarts did not help")
            return False
        return True


def joined(first: str, second: str) -> str:
    return "; ".join(part for part in (first, second) if part)
