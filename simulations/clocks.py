"""The clocks of one node: a boot clock that never jumps, and a wall clock that people and programs set."""

from __future__ import annotations

from random import Random
from typing import Final

from protocol.limits import CLOCK_TOLERANCE_MS
from protocol.machines.contract import Now
from protocol.record import Record

WALL_MS: Final = 1_700_000_000_000  # the true wall clock when the virtual clock is 0
DRIFT_PPM_MAX: Final = 200  # twice a bad crystal; 5 hours make 3.6 s of it
# Of one node against the truth, so that two always differ by less than CLOCK_TOLERANCE_MS, drift included.
OFFSET_MS_MAX: Final = CLOCK_TOLERANCE_MS // 2 - 10_000
WILD_STEP_MS_MAX: Final = 3_600_000  # somebody set the clock by hand, to the wrong time zone


class StepPlan(Record, frozen=True):
    """From `at_ns` on the wall clock of a node is off by `offset_ms`: it jumps there. A wild one is set right later."""

    at_ms: int
    node: int
    offset_ms: int

    @property
    def wild(self) -> bool:
        return abs(self.offset_ms) > OFFSET_MS_MAX


def draw_steps(rng: Random, nodes: int, chaos_ms: int) -> tuple[StepPlan, ...]:
    """In one seed of five clocks jump within the tolerance, in one of twenty by up to an hour, each way."""
    kind = rng.random()
    if kind >= 0.25:
        return ()
    offset_ms_max = WILD_STEP_MS_MAX if kind < 0.05 else OFFSET_MS_MAX
    steps = [
        StepPlan(
            at_ms=rng.randint(1, chaos_ms),
            node=rng.randrange(nodes),
            offset_ms=rng.randint(-offset_ms_max, offset_ms_max),
        )
        for _ in range(rng.randint(1, 3 * nodes))
    ]
    return tuple(sorted(steps, key=lambda step: (step.at_ms, step.node)))


class NodeClock:
    """Both clocks of one node, from the true time of the virtual world."""

    def __init__(self, offset_ms: int, drift_ppm: int, boot_ns: int) -> None:
        """`boot_ns`: what the boot clock shows when the world begins."""
        self._first_offset_ms = self._offset_ms = offset_ms
        self._drift_ppm = drift_ppm
        self._boot_base_ns = boot_ns

    def now(self, world_ns: int) -> Now:
        own_ns = self._own_ns(world_ns)
        return Now(boot_ns=self._boot_base_ns + own_ns, wall_ms=WALL_MS + own_ns // 1_000_000 + self._offset_ms)

    def world_delay_ns(self, world_ns: int, at_ns: int) -> int:
        """How long the world waits until the boot clock shows `at_ns`."""
        left_ns = max(0, at_ns - self._boot_base_ns - self._own_ns(world_ns))
        return left_ns * 1_000_000 // (1_000_000 + self._drift_ppm) + 1 if left_ns else 0

    def step(self, offset_ms: int) -> None:
        self._offset_ms = offset_ms

    def set_right(self) -> None:
        """Somebody notices a clock that is wildly wrong."""
        if abs(self._offset_ms) > OFFSET_MS_MAX:
            self._offset_ms = self._first_offset_ms

    def reboot(self, world_ns: int, boot_ns: int) -> None:
        """The machine starts anew: its boot clock shows `boot_ns` now."""
        self._boot_base_ns = boot_ns - self._own_ns(world_ns)

    def _own_ns(self, world_ns: int) -> int:
        return world_ns + world_ns * self._drift_ppm // 1_000_000
