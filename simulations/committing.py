"""How a virtual store takes commits: those that wait together share one sync, and none is told before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.limits import COMMIT_GROUP_MAX
from simulations.faults import MachineName
from simulations.store import Batch

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World

_TOLD_NS_MAX: Final = 1_000_000  # until a machine has heard of its commit


class Committer:
    """The store's thread in one life of a node."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node
        self._syncing = False
        self._refused: set[tuple[MachineName, int]] = set()  # machines, each with its incarnation, that must load anew

    def write(self, batch: Batch) -> None:
        self._node.store.write(batch)
        if not self._syncing:
            self._begin()

    def flush(self) -> None:
        """Sync all that waits, at once: whoever reads rows sees every commit before."""
        self._sync(self._node.store.take(self._node.store.waiting))

    def crash(self) -> None:
        """What is on disk without a sync becomes part of the next life."""
        for batch in self._standing(self._node.store.crash(self._world.rng)):
            self._world.checkers.committing(self._node, batch.machine, batch.writes)
            self._node.store.sync(batch.writes)

    def _begin(self) -> None:
        count = min(COMMIT_GROUP_MAX, self._node.store.waiting)
        self._syncing = True
        sync_ns = self._world.rng.randint(0, self._world.options.commit_ms_max * 1_000_000)
        self._node.later(sync_ns, lambda: self._end(count))

    def _end(self, count: int) -> None:
        self._syncing = False
        node, rng = self._node, self._world.rng
        if node.armed == "before a commit":
            self._world.breaker.crash_now(node)
            return
        group = node.store.take(count)
        refused = self._world.breaker.refused_share(node)
        if refused and rng.random() < refused:
            self._refuse(group)
        else:
            self._sync(group)
            if node.armed == "after a commit":
                self._world.breaker.crash_now(node)
                return
        if node.store.waiting and not self._syncing:
            self._begin()

    def _sync(self, waiting: list[Batch]) -> None:
        group = self._standing(waiting)
        for batch in group:
            self._world.checkers.committing(self._node, batch.machine, batch.writes)
            self._node.store.sync(batch.writes)
        for batch in group:
            self._node.committed(batch, self._world.rng.randrange(_TOLD_NS_MAX))

    def _refuse(self, group: list[Batch]) -> None:
        """Nothing of them is written, ever; their machines crash when they hear of it."""
        self._world.note(self._node, "store", "refused", f"{len(group)} commits")
        for batch in group:
            self._refused.add((batch.machine, batch.incarnation))
            self._node.refused(batch, self._world.rng.randrange(_TOLD_NS_MAX))

    def _standing(self, group: list[Batch]) -> list[Batch]:
        """Without those behind a refused one of the same machine: the store of the product writes none of them."""
        return [batch for batch in group if (batch.machine, batch.incarnation) not in self._refused]
