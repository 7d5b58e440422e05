"""Small worlds in which nothing breaks but what a test plans."""

from __future__ import annotations

from typing import Any

import msgspec

from simulations.options import JobPlan, NodePlan, Options
from simulations.trace import Trace
from simulations.world import World


def quiet(nodes: int = 2, **changes: Any) -> Options:
    """Nodes with one source each in one project, met within seconds; a good network, and 30 s of it."""
    plan = NodePlan(start_ms=0, projects=(0,), sources={"data": (0,)}, clock_offset_ms=0, drift_ppm=0, meets="typed")
    options = Options(
        seed=1,
        chaos_ms=30_000,
        loss=0.0,
        duplicates=0.0,
        replays=0.0,
        spikes=0.0,
        delay_ms_min=1,
        delay_ms_max=2,
        spike_ms=0,
        commit_ms_max=2,
        task_ms_max=100,
        task_faults=0.0,
        task_deaths=0.0,
        nodes=(plan,) * nodes,
        jobs=(),
    )
    return msgspec.structs.replace(options, **changes)


def job(at_ms: int, node: int = 0, lease_ms: int = 2_000) -> JobPlan:
    return JobPlan(
        at_ms=at_ms,
        node=node,
        project=0,
        lease_ms=lease_ms,
        deadline_ms=600_000,
        life_ms=3_600_000,
        cancel_after_ms=0,
        listed=False,
        altered=False,
    )


class Watched:
    """A world that has run to its end, and its whole trace."""

    def __init__(self, options: Options) -> None:
        self.lines: list[tuple[float, str, str, str, str]] = []  # ms, node, machine, event, detail
        self.world = World(options, Trace(self._add, everything=True))
        self.world.run()

    def _add(self, line: str) -> None:
        node, machine, event = line[13:18].strip(), line[18:29].strip(), line[29:47].strip()
        self.lines.append((float(line[:11]), node, machine, event, line[47:]))

    def when(self, node: str, machine: str, event: str, detail: str = "") -> list[float]:
        """The times in ms of everything like this."""
        return [
            ms
            for ms, of, by, what, more in self.lines
            if (of, by, what) == (node, machine, event) and more.startswith(detail)
        ]
