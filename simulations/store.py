"""The virtual store of one node. Batches are written in order and are safe once synced; only then is anybody told.

A crash keeps all that was synced and, of what was written after it, as many batches from the front as chance wants:
the order of commits is kept, the rest of the log is lost. No machine has been told of any of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from protocol import kinds
from protocol.machines.contract import Audit, Drop, DropLog, DropOldLogs, Keep, LogJob, Put, Release, Write
from simulations.faults import MachineName


class Batch(NamedTuple):
    """The writes of one step of one incarnation of a machine; `done` is for the shell that wrote them."""

    machine: MachineName
    incarnation: int
    writes: tuple[Write, ...]
    done: Callable[[], None]


class VirtualStore:
    """Synced rows, resources and logs of one node, and the batches that wait for their sync."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, bytes]] = {kind: {} for kind in sorted(kinds.KINDS)}
        self._resources: dict[bytes, bytes] = {}
        self._waiting: deque[Batch] = deque()
        self.audit_rows = 0

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        self._waiting.append(batch)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, count: int) -> list[Batch]:
        """The oldest batches: for their sync, or to be refused."""
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def crash(self, rng: Random) -> list[Batch]:
        """What reached the disk although nobody was told; the rest is lost."""
        survivors = self.take(rng.randint(0, len(self._waiting)))
        self._waiting.clear()
        return survivors

    def sync(self, writes: tuple[Write, ...]) -> None:
        """All of one batch at one instant."""
        for write in writes:
            match write:
                case Put(kind=kind, key=key, value=value):
                    self._tables[kind][key] = value
                case Drop(kind=kind, key=key):
                    self._tables[kind].pop(key, None)
                case Keep(digest=digest, data=data):
                    self._resources[digest] = data
                case Release(digests=digests):
                    for digest in digests:
                        self._resources.pop(digest, None)
                case Audit():
                    self.audit_rows += 1
                case LogJob() | DropLog() | DropOldLogs():
                    pass  # read by the checkers as it is synced; no machine reads it back

    # --- reading -----------------------------------------------------------------------------------------------------

    def rows(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """For a machine that starts: in order of keys, as a database gives them."""
        return {kind: sorted(table.items()) for kind, table in self._tables.items()}

    def get(self, kind: str, key: bytes) -> bytes | None:
        return self._tables[kind].get(key)

    def values(self, kind: str) -> list[bytes]:
        return [value for _, value in sorted(self._tables[kind].items())]

    def resource(self, digest: bytes) -> bytes | None:
        return self._resources.get(digest)

    def next_boot_id(self, wall_ms: int) -> int:
        """Above all before and not below the wall clock; synced before anything is sent under it."""
        boot_id = max(wall_ms, int.from_bytes(self._tables[kinds.BOOT].get(b"", b"")) + 1)
        self._tables[kinds.BOOT][b""] = boot_id.to_bytes(8)
        return boot_id
