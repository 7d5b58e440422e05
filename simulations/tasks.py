"""The child processes of a virtual node: each takes a while, and then there is a product, a fault, or a death."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from protocol.errors import Code
from protocol.machines.contract import StartTask
from protocol.machines.events import TaskDied, TaskFaulted, TaskProduced
from simulations.products import product_of
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World

PLANTED_FAULT: Final = Code.SOURCE_MISSING
_DEATHS: Final[tuple[Literal["crashed", "out-of-memory", "out-of-time"], ...]] = (
    "crashed",
    "crashed",
    "out-of-memory",
    "out-of-time",
)


class Tasks:
    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node
        self._running: dict[bytes, tuple[int, int]] = {}  # a number, and since when
        self._starters: dict[bytes, int] = {}  # incarnation of the worker that started a task last
        self._count = 0

    def start(self, effect: StartTask) -> None:
        """A worker that fell and was started again wants its running tasks again: they go on, as in the product."""
        incarnation = self._node.incarnations["worker"]
        if self._starters.get(effect.key) == incarnation and effect.key in self._running:
            raise Violation(f"{self._node.name} starts a task that it runs already: {effect.key.hex()[:12]}")
        self._starters[effect.key] = incarnation
        self._world.checkers.task_starts(self._node, effect)
        if effect.key in self._running:
            return
        self._count += 1
        started = self._running[effect.key] = (self._count, self._world.now_ns)
        self._world.note(self._node, "worker", "task starts", effect.request.operation)
        duration_ms = self._world.rng.randint(1, self._world.options.task_ms_max)

        def end() -> None:
            if self._running.get(effect.key) == started:
                del self._running[effect.key]
                self._node.deliver("worker", self._end_of(effect))

        self._world.after(duration_ms * 1_000_000, end)

    def kill(self, key: bytes) -> None:
        if self._running.pop(key, None) is not None:
            self._world.note(self._node, "worker", "task killed")

    def lose_all(self) -> None:
        """They end with their node."""
        self._running.clear()

    def running(self, job_id: bytes) -> dict[bytes, int]:
        """Tasks of this job that run, and since when."""
        return {key: since_ns for key, (_, since_ns) in self._running.items() if key.startswith(job_id)}

    def idle(self) -> bool:
        return not self._running

    def _end_of(self, effect: StartTask) -> TaskProduced | TaskFaulted | TaskDied:
        options, rng, chaos = self._world.options, self._world.rng, self._world.chaos
        if chaos and rng.random() < options.task_faults:
            return TaskFaulted(key=effect.key, code=PLANTED_FAULT, sentence="the file is gone")
        if chaos and rng.random() < options.task_deaths:
            return TaskDied(key=effect.key, reason=rng.choice(_DEATHS))
        product = product_of(self._node.own_id, effect.source, effect.request)
        self._world.checkers.produced(self._node, effect.key, product)
        return TaskProduced(key=effect.key, product=product)
