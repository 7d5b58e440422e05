"""A world for the machine of a flame run: processes that run, timers that come due, all in virtual time."""

from __future__ import annotations

from protocol.machines.contract import ClearTimer, Now, SetTimer, TimerFired
from protocol.machines.flame_events import (
    Finish,
    KillProcess,
    NodeBeat,
    NodeConnected,
    NodeGreeted,
    NodeLeft,
    NodePlan,
    NodeView,
    NodeWired,
    ProcessEnded,
    RunBegun,
    RunEffect,
    RunEvent,
    RunLimits,
    RunSafe,
    StartProcess,
    Tell,
)
from protocol.machines.flame_run import FlameRun


class World:
    """Holds the machine to its word: one process for each flame node, no effect behind the end, none left behind."""

    def __init__(self, *plans: NodePlan, limits: RunLimits | None = None) -> None:
        self.machine = FlameRun(plans, limits or RunLimits())
        self.ns = 1_000_000_000
        self.running: dict[str, str] = {}  # what runs for each flame node: "program" or "safe"
        self.killed: set[str] = set()
        self.timers: dict[str, SetTimer] = {}
        self.told: list[tuple[str, str]] = []
        self.started: list[tuple[str, str]] = []
        self.finish: Finish | None = None

    def step(self, event: RunEvent) -> tuple[RunEffect, ...]:
        effects = self.machine.step(event, Now(self.ns, 0))
        self.machine.check()
        assert not effects or self.finish is None, "something happened after the end"
        for effect in effects:
            self._perform(effect)
        return effects

    def begin(self) -> None:
        self.step(RunBegun())

    def end(self, node: str, code: int | None = 0, signal: int | None = None, story: str = "") -> None:
        """Its process ends. Only one that runs can."""
        del self.running[node]
        self.killed.discard(node)
        self.step(ProcessEnded(node=node, code=None if signal else code, signal=signal, story=story))

    def fire(self, name: str = "", late_ms: int = 0) -> None:
        """The next timer, or the one of this name, comes due."""
        timer = self.timers.pop(name or min(self.timers, key=lambda one: self.timers[one].at_ns))
        self.ns = max(self.ns, timer.at_ns) + late_ms * 1_000_000
        self.step(TimerFired(name=timer.name, generation=timer.generation))

    def pass_ms(self, ms: int) -> None:
        """Every timer that comes due within that time fires."""
        until_ns = self.ns + ms * 1_000_000
        while self.timers and min(timer.at_ns for timer in self.timers.values()) <= until_ns:
            self.fire()
        self.ns = until_ns

    # --- what flame nodes do -----------------------------------------------------------------------

    def greet(self, *nodes: str) -> None:
        for node in nodes:
            self.step(NodeGreeted(node=node))

    def wire(self, *nodes: str) -> None:
        for node in nodes:
            self.step(NodeWired(node=node))

    def connect(self, *nodes: str) -> None:
        for node in nodes:
            self.step(NodeConnected(node=node))

    def beat(self, node: str) -> None:
        self.step(NodeBeat(node=node))

    def leave(self, node: str, problem: str = "", code: int = 0) -> None:
        self.step(NodeLeft(node=node, problem=problem))
        self.end(node, code)

    def run(self, *nodes: str) -> None:
        """These go through the start; all of the run, or one that was started anew."""
        self.greet(*nodes)
        self.wire(*nodes)
        self.connect(*nodes)

    def view(self, node: str) -> NodeView:
        return next(view for view in self.machine.snapshot().nodes if view.name == node)

    def state(self, node: str) -> str:
        return self.view(node).state

    # --- the world ---------------------------------------------------------------------------------

    def _perform(self, effect: RunEffect) -> None:
        match effect:
            case StartProcess(node=node):
                self._started(node, "program")
            case RunSafe(node=node):
                self._started(node, "safe")
            case KillProcess(node=node):
                assert node in self.running
                self.killed.add(node)
            case Tell(node=node, order=order):
                self.told.append((node, order))
            case SetTimer():
                self.timers[effect.name] = effect
            case ClearTimer():
                self.timers.pop(effect.name, None)
            case Finish():
                assert self.finish is None
                self.finish = effect

    def _started(self, node: str, what: str) -> None:
        assert node not in self.running, "two processes of one flame node"
        self.running[node] = what
        self.started.append((node, what))
