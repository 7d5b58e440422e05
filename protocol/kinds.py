"""The kinds of records that a node stores, each with its owner, key and promise.

`SAFETY_KINDS` are always kept in a file of the work directory, even when the metadata database is in memory: what
safety rests on must survive a restart.
"""

from __future__ import annotations

from typing import Final

BOOT: Final = "boot"  # key b"": the highest boot id of this node
PEER: Final = "peer"  # key node id: an accepted peer (membership)
BAN: Final = "ban"  # key node id: a node that the operator keeps out (admission)
ACCEPTED: Final = "accepted"  # key node id: a node that the operator lets in (admission)
INVITATION: Final = "invitation"  # key invitation id: whom it let in, or until when it is open (admission)
SEEN_BOOT: Final = "seen-boot"  # key node id: highest boot id seen from a peer (gate)
EXECUTED: Final = "executed"  # key job id: an order that this node accepted, its scheduler and highest epoch (worker)
JOB: Final = "job"  # key job id: a job of the scheduler
TASK: Final = "task"  # key job id + task index: a task of a live job (scheduler)
REMOVED: Final = "removed"  # key job id: a job that was removed, by whom, and until when its order lives (scheduler)
WITNESSED: Final = "witnessed"  # key b"": the wall time of which this node is sure (scheduler)
ATTEMPT: Final = "attempt"  # key job id + task index: a task at this node (worker)
CHUNK: Final = "chunk"  # key job id + digest: a chunk that this node holds for a task of a live job (worker)
FLAME_RUN: Final = "flame-run"  # key text of a run's id: a run of flame that this node executes (keeper)
OUTBOX: Final = "outbox"  # key owner + message id: frames not yet acknowledged (delivery)
INBOX: Final = "inbox"  # key owner + sender + message id: frames already applied (delivery)

SAFETY_KINDS: Final = frozenset({BOOT, PEER, BAN, ACCEPTED, INVITATION, SEEN_BOOT, EXECUTED, FLAME_RUN})
KINDS: Final = SAFETY_KINDS | {JOB, TASK, REMOVED, WITNESSED, ATTEMPT, CHUNK, OUTBOX, INBOX}
