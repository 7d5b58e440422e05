"""Carries out the plans of what breaks in nodes, and ends all of it when the calm begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from protocol.limits import NODE_BACKOFF_MS_MIN
from simulations.clocks import StepPlan
from simulations.faults import BanPlan, CrashPlan, FallPlan, FullDiskPlan, PausePlan, WavePlan

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World

ARMED_MS: Final = 3_000  # a crash that waits for a commit comes after so long anyway
_DISK_MS: Final = 1_000  # between two tries to start a node whose disk is full


class Breaker:
    def __init__(self, world: World) -> None:
        self._world = world
        self._rough_until_ns = 0
        self._down: dict[int, CrashPlan] = {}  # number of a node: the crash that waits or that keeps it down
        self._full: dict[int, list[FullDiskPlan]] = {}
        for full in world.options.full_disks:
            self._full.setdefault(full.node, []).append(full)

    def begin(self) -> None:
        """Puts every plan into the queue of the world."""
        options = self._world.options
        for crash in options.crashes:
            self._at(crash.at_ms, partial(self._crash, crash))
        for fall in options.falls:
            self._at(fall.at_ms, partial(self._fall, fall))
        for pause in options.pauses:
            self._at(pause.at_ms, partial(self._pause, pause))
        for step in options.clock_steps:
            self._at(step.at_ms, partial(self._step, step))
        for ban in options.bans:
            self._at(ban.at_ms, partial(self._ban, ban))
        self._world.rough = not options.waves
        for wave in options.waves:
            self._at(wave.at_ms, partial(self._wave, wave))

    def calm(self) -> None:
        """Nothing breaks any more: what is down comes up, what is paused goes on, wild clocks are set right."""
        self._world.rough = False
        for node in self._world.nodes:
            self._down.pop(node.number, None)
            node.armed = ""
            node.clock.set_right()
            node.resume()
            node.ban(frozenset())
            if not node.up:
                node.start()

    def refused_share(self, node: Node) -> float:
        """How many of its commits the store of this node refuses now."""
        if not self._world.chaos:
            return 0.0
        now_ms = self._world.now_ms
        shares = [full.share for full in self._full.get(node.number, ()) if 0 <= now_ms - full.at_ms < full.length_ms]
        return max(shares, default=0.0)

    def crash_now(self, node: Node) -> None:
        """The crash that this node is armed for."""
        crash = self._down[node.number]
        node.crash()
        if crash.reboot:
            node.clock.reboot(self._world.now_ns, 1 + self._world.rng.randrange(10**9))
        self._start_later(node, crash.down_ms)

    def give_up(self, node: Node) -> None:
        """Its machines fell too often: the process ends, and its launcher starts another."""
        node.crash()
        self._start_later(node, NODE_BACKOFF_MS_MIN)

    # --- the plans ---------------------------------------------------------------------------------------------------

    def _at(self, at_ms: int, action: Callable[[], None]) -> None:
        def act() -> None:
            if self._world.chaos:
                action()

        self._world.after(at_ms * 1_000_000, act)

    def _crash(self, crash: CrashPlan) -> None:
        node = self._world.nodes[crash.node]
        if not node.up or crash.node in self._down:
            return
        self._down[crash.node] = crash
        if crash.moment == "at once":
            self.crash_now(node)
        else:
            node.armed = crash.moment
            life = node.life
            self._world.after(ARMED_MS * 1_000_000, lambda: self._crash_anyway(node, life))

    def _crash_anyway(self, node: Node, life: int) -> None:
        if self._world.chaos and node.up and node.life == life:
            self.crash_now(node)

    def _start_later(self, node: Node, down_ms: int) -> None:
        life = node.life

        def start() -> None:
            if node.up or node.life != life:
                return
            if self.refused_share(node):
                self._world.after(_DISK_MS * 1_000_000, start)
                return
            self._down.pop(node.number, None)
            node.start()

        self._world.after(down_ms * 1_000_000, start)

    def _fall(self, fall: FallPlan) -> None:
        self._world.nodes[fall.node].fall(fall.machine, "it was broken")

    def _pause(self, pause: PausePlan) -> None:
        node = self._world.nodes[pause.node]
        if node.up:
            node.pause(pause.length_ms)

    def _ban(self, ban: BanPlan) -> None:
        """Of two bans that overlap the later one ends both."""
        node, other = self._world.nodes[ban.node], self._world.nodes[ban.other].own_id
        node.ban(node.banned | {other})
        self._world.after(ban.length_ms * 1_000_000, lambda: node.ban(node.banned - {other}))

    def _step(self, step: StepPlan) -> None:
        node = self._world.nodes[step.node]
        node.clock.step(step.offset_ms)
        self._world.note(node, "node", "clock stepped", f"to {step.offset_ms:+d} ms", main=True)

    def _wave(self, wave: WavePlan) -> None:
        """The network is bad until the wave is over, or a later one that it overlaps with."""
        end_ns = self._world.now_ns + wave.length_ms * 1_000_000
        self._world.rough = True
        self._rough_until_ns = end_ns

        def end() -> None:
            if self._rough_until_ns == end_ns:
                self._world.rough = False

        self._world.after(wave.length_ms * 1_000_000, end)
