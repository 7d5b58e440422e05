"""The child processes of a virtual node: each takes a while, and then there is a product, a fault, or a death."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from protocol.errors import Code
from protocol.machines.contract import StartTask
from protocol.machines.events import TaskDied, TaskFaulted, TaskPiece, TaskProduced
from protocol.plan.products import chunks_of
from protocol.plan.tasks import TaskRequest
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
        self._pieces: dict[bytes, deque[bytes]] = {}  # of large products that are being told: what is left
        self._told: dict[bytes, int] = {}  # and how many pieces were
        self._runs: dict[bytes, int] = {}  # as the worker names them
        self._count = 0

    def start(self, effect: StartTask) -> None:
        """A worker that fell and was started again wants its running tasks again: they go on, as in the product."""
        incarnation = self._node.incarnations["worker"]
        if self._starters.get(effect.key) == incarnation and effect.key in self._running:
            raise Violation(f"{self._node.name} starts a task that it runs already: {effect.key.hex()[:12]}")
        self._starters[effect.key] = incarnation
        self._world.checkers.task_starts(self._node, effect)
        self._runs[effect.key] = effect.run
        if effect.key in self._running and effect.key not in self._pieces:
            return
        inputs = tuple(self._node.store.whole(carried) for carried in effect.request.inputs)
        request = None if None in inputs else msgspec.structs.replace(effect.request, inputs=inputs)
        self._pieces.pop(effect.key, None)  # the worker has forgotten what it was told of it: the child begins anew
        self._count += 1
        started = self._running[effect.key] = (self._count, self._world.now_ns)
        self._world.note(self._node, "worker", "task starts", effect.request.operation)
        duration_ms = self._world.rng.randint(1, self._world.options.task_ms_max)

        def end() -> None:
            if self._running.get(effect.key) == started:
                self._end(effect, request)

        self._world.after(duration_ms * 1_000_000, end)

    def kill(self, key: bytes) -> None:
        self._pieces.pop(key, None)
        if self._running.pop(key, None) is not None:
            self._world.note(self._node, "worker", "task killed")

    def lose_all(self) -> None:
        """They end with their node."""
        self._running.clear()
        self._pieces.clear()

    def running(self, job_id: bytes) -> dict[bytes, int]:
        """Tasks of this job that run, and since when."""
        return {key: since_ns for key, (_, since_ns) in self._running.items() if key.startswith(job_id)}

    def idle(self) -> bool:
        return not self._running

    def next_piece(self, key: bytes, run: int) -> None:
        """The worker has stored the last one."""
        pieces = self._pieces.get(key)
        if pieces is None or run != self._runs[key]:
            return
        if pieces:
            number, self._told[key] = self._told[key], self._told[key] + 1
            self._node.deliver("worker", TaskPiece(key=key, number=number, data=pieces.popleft(), run=run))
            return
        del self._pieces[key], self._running[key]
        self._node.deliver("worker", TaskProduced(key=key, product=b"", pieces=self._told.pop(key), run=run))

    def _end(self, effect: StartTask, request: TaskRequest | None) -> None:
        event = self._end_of(effect, request)
        if isinstance(event, TaskProduced) and len(event.product) > effect.request.inline_bytes:
            self._pieces[effect.key], self._told[effect.key] = deque(chunks_of(event.product)), 0
            self.next_piece(effect.key, self._runs[effect.key])
        else:
            del self._running[effect.key]
            self._node.deliver("worker", event)

    def _end_of(self, effect: StartTask, request: TaskRequest | None) -> TaskProduced | TaskFaulted | TaskDied:
        """`request` None: chunks that it takes are gone already, as the job is over and it is about to be killed. As in
        the product its child dies of that, which fails a job for no planted reason if it was wanted still.
        """
        if request is None:
            return TaskDied(key=effect.key, reason="crashed")
        options, rng, chaos = self._world.options, self._world.rng, self._world.chaos
        if chaos and rng.random() < options.task_faults:
            return TaskFaulted(key=effect.key, code=PLANTED_FAULT, sentence="the file is gone")
        if chaos and rng.random() < options.task_deaths:
            return TaskDied(key=effect.key, reason=rng.choice(_DEATHS))
        product = product_of(self._node.own_id, effect.source, request)
        self._world.checkers.produced(self._node, effect.key, product)
        return TaskProduced(key=effect.key, product=product)
