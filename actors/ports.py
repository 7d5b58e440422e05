"""What the actors want from the world, each a Protocol; `actors/adapters/` fulfils them with real things."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from protocol.errors import StorageError
from protocol.machines.contract import Now, Write
from protocol.record import Record


class Clock(Protocol):
    """The two clocks of the machine."""

    def now(self) -> Now:
        """The present. Any thread; never waits."""
        ...


class Entropy(Protocol):
    """Bytes that nobody can foresee."""

    def bytes(self, n: int) -> builtins.bytes:
        """`n` fresh bytes. Any thread."""
        ...


class JobEvent(Record, frozen=True):
    """One row of a job's event log. `n` rises over the whole node; the rows of one job have gaps."""

    n: int
    job_id: bytes
    wall_ms: int
    event: str
    detail: bytes


class AuditRow(Record, frozen=True):
    """One row of the audit chain; see `actors.adapters.audit_chain`."""

    n: int
    previous_hash: bytes
    hash: bytes
    wall_ms: int
    actor: str
    event: str
    detail: bytes


class AuditVerdict(Record, frozen=True):
    """`rows` fit from the first on; when not `ok`, `first_bad` is the number of the first that is missing or
    does not fit.
    """

    rows: int
    ok: bool
    first_bad: int | None = None


class Store(Protocol):
    """What a node remembers. Used by one thread. Raises StorageError when the store itself has failed."""

    def load(self, kinds: Iterable[str]) -> dict[str, list[tuple[bytes, bytes]]]:
        """Every record of each kind as (key, value) in key order; a kind without records has an empty
        list.
        """
        ...

    def commit(self, batches: Sequence[tuple[Write, ...]]) -> list[StorageError | None]:
        """Write the batches, each whole or not at all; None stands for one that is on disk, an error for one
        that never will be. Resources are on disk before the rows that name them.
        """
        ...

    def resource(self, digest: builtins.bytes) -> builtins.bytes | None:
        """The resource that a committed batch kept, its hash verified, or None."""
        ...

    def job_events(self, job_id: builtins.bytes, after: int = 0) -> list[JobEvent]:
        """The events of one job above number `after`, oldest first, at most STORE_PAGE_ROWS_MAX."""
        ...

    def audit_rows(self, after: int, limit: int) -> list[AuditRow]:
        """The audit rows above number `after`, oldest first, at most `limit` and STORE_PAGE_ROWS_MAX."""
        ...

    def verify_audit(self) -> AuditVerdict:
        """Follow the whole audit chain."""
        ...

    def next_boot_id(self, wall_ms: int) -> int:
        """A number above all that this returned before and not below `wall_ms`; stored when it returns."""
        ...

    def close(self) -> None:
        """Close it. Nothing may be called afterwards."""
        ...


class ChildStarted(Record, frozen=True):
    """The child runs and can be talked to."""

    key: str
    pid: int


class ChildSaid(Record, frozen=True):
    """One whole message of a child."""

    key: str
    message: bytes


class ChildGone(Record, frozen=True):
    """The child has ended, or never ran; its key is free again. Last event of a child, after all that it said.

    `code` or `signal` says how it ended (both None: it never ran). `reason` is one of `actors.children.EndReason`, with
    `: detail` behind it where there is more to say.
    """

    key: str
    code: int | None
    signal: int | None
    reason: str


class LauncherGone(Record, frozen=True):
    """Nobody watches over this node's processes any more: the node must stop. Nothing comes after it."""

    reason: str


SpawnerEvent = ChildStarted | ChildSaid | ChildGone | LauncherGone


class Spawner(Protocol):
    """Child processes. Any thread; never waits but in `stop`. Events come one at a time, from a thread of its own."""

    @property
    def kept(self) -> Mapping[str, int]:
        """Process ids, by key, of children that outlived this node's last run; as it was when the node started.

        Their keys are taken, they can be killed and their end is told; their channels are gone, and `send` is in vain.
        """
        ...

    def spawn(self, key: str, role: str, *, on_node_death: Literal["kill", "keep"], rss_bytes_max: int) -> None:
        """Ask for a child; `ChildStarted` or `ChildGone` follows. `role` names its program.

        `key` (1 to CHILD_KEY_CHARS_MAX characters) is free, and at most CHILDREN_MAX children run: anything else is the
        caller's bug (LocalProtocolError). UnreachableError when the launcher has gone or the spawner was stopped.
        """
        ...

    def kill(self, key: str) -> None:
        """Kill the child and its process group; `ChildGone` follows. No effect on a child that has gone."""
        ...

    def send(self, key: str, message: bytes) -> bool:
        """Queue one message (1 to CHILD_MESSAGE_BYTES_MAX bytes), from `spawn` on.

        False, and nothing is queued, when no such child has a channel or CHILD_OUTBOX_BYTES_MAX bytes wait for it.
        """
        ...

    def stop(self) -> None:
        """Let all children end and stop the spawner's thread. No event comes after it."""
        ...
