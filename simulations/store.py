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
from protocol.plan.products import Carried
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
        self._keeps: dict[bytes, int] = {}
        self._parts: dict[bytes, tuple[bytes, ...]] = {}
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
                case Keep(digest=digest, data=data, parts=parts):
                    self._keep(digest, data, parts)
                case Release(digests=digests):
                    self._release(digests)
                case Audit():
                    self.audit_rows += 1
                case LogJob() | DropLog() | DropOldLogs():
                    pass  # read by the checkers as it is synced; no machine reads it back

    def _keep(self, digest: bytes, data: bytes, parts: tuple[bytes, ...]) -> None:
        known = self._parts.get(digest, ())
        new = [part for part in dict.fromkeys(parts) if part not in known]
        self._parts[digest] = (*known, *new)
        for part in new:
            self._keeps[part] += 1
        self._resources[digest] = data
        self._keeps[digest] = self._keeps.get(digest, 0) + 1

    def _release(self, digests: tuple[bytes, ...]) -> None:
        for digest in digests:
            self._keeps[digest] = self._keeps.get(digest, 0) - 1
            if self._keeps[digest] < 1:
                del self._keeps[digest]
                self._resources.pop(digest, None)
                self._release(self._parts.pop(digest, ()))

    # --- reading -----------------------------------------------------------------------------------------------------

    def rows(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """For a machine that starts: in order of keys, as a database gives them."""
        return {kind: sorted(table.items()) for kind, table in self._tables.items()}

    def get(self, kind: str, key: bytes) -> bytes | None:
        return self._tables[kind].get(key)

    def values(self, kind: str) -> list[bytes]:
        return [value for _, value in sorted(self._tables[kind].items())]

    def keys(self, kind: str) -> list[bytes]:
        return sorted(self._tables[kind])

    def resource(self, digest: bytes) -> bytes | None:
        return self._resources.get(digest)

    def whole(self, product: Carried) -> bytes | None:
        """The bytes of a product, or None where a chunk of it is not here."""
        if isinstance(product, bytes):
            return product
        chunks = [self._resources.get(digest) for digest in product.chunks]
        return b"".join(chunk for chunk in chunks if chunk is not None) if None not in chunks else None

    def resources(self) -> set[bytes]:
        return set(self._resources)

    def next_boot_id(self, wall_ms: int) -> int:
        """Above all before and not below the wall clock; synced before anything is sent under it."""
        boot_id = max(wall_ms, int.from_bytes(self._tables[kinds.BOOT].get(b"", b"")) + 1)
        self._tables[kinds.BOOT][b""] = boot_id.to_bytes(8)
        return boot_id
