"""The virtual store of one node: what was committed, and nothing else, survives a crash."""

from __future__ import annotations

from protocol import kinds
from protocol.machines.contract import Audit, Drop, Keep, LogJob, Put, Write


class VirtualStore:
    """Committed rows, resources and logs of one node."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, bytes]] = {kind: {} for kind in sorted(kinds.KINDS)}
        self._resources: dict[bytes, bytes] = {}
        self.audit_rows = 0

    def commit(self, writes: tuple[Write, ...]) -> None:
        """All of them at one instant."""
        for write in writes:
            match write:
                case Put(kind=kind, key=key, value=value):
                    self._tables[kind][key] = value
                case Drop(kind=kind, key=key):
                    self._tables[kind].pop(key, None)
                case Keep(digest=digest, data=data):
                    self._resources[digest] = data
                case Audit():
                    self.audit_rows += 1
                case LogJob():
                    pass  # read by the checkers as it is committed; no machine reads it back

    def rows(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """For a machine that starts: in order of keys, as a database gives them."""
        return {kind: sorted(table.items()) for kind, table in self._tables.items()}

    def get(self, kind: str, key: bytes) -> bytes | None:
        return self._tables[kind].get(key)

    def values(self, kind: str) -> list[bytes]:
        return [value for _, value in sorted(self._tables[kind].items())]

    def resource(self, digest: bytes) -> bytes | None:
        return self._resources.get(digest)

    def next_boot_id(self) -> int:
        """Committed before anything is sent under it."""
        boot_id = int.from_bytes(self._tables[kinds.BOOT].get(b"", b"")) + 1
        self._tables[kinds.BOOT][b""] = boot_id.to_bytes(8)
        return boot_id
