"""The resources that the results of ended jobs are kept in, and how much room they take.

Jobs with the same result share its resource: it is counted once, and let go with the last of them.
"""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from typing import Final

from protocol.limits import RESULTS_KEEP_MS, RESULTS_QUOTA_BYTES
from protocol.record import Record


class RetentionRules(Record, frozen=True):
    """What the operator says. `keep_ms` None: for ever."""

    keep_ms: int | None = RESULTS_KEEP_MS
    quota_bytes: int = RESULTS_QUOTA_BYTES


KEPT_BY_DEFAULT: Final = RetentionRules()


class ResultsView(Record, frozen=True):
    """For people. `keep_ms` None: for ever; `reserved_bytes`: what the live jobs may still need."""

    jobs: int
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int
    keep_ms: int | None
    clock_in_doubt: bool


class StoredResults:
    def __init__(self) -> None:
        self._named: dict[bytes, int] = {}  # bounded by the resources of limits.JOBS_KEPT_MAX jobs: how many name it
        self.used_bytes = 0

    def add(self, resources: Mapping[bytes, int]) -> None:
        """Those of one more job, each with its bytes."""
        for digest, size_bytes in resources.items():
            self._named[digest] = self._named.get(digest, 0) + 1
            if self._named[digest] == 1:
                self.used_bytes += size_bytes

    def let_go(self, resources: Mapping[bytes, int]) -> dict[bytes, int]:
        """Those of a job that is removed. Returns the ones that no other job needs, with their bytes."""
        free: dict[bytes, int] = {}
        for digest, size_bytes in resources.items():
            self._named[digest] -= 1
            if not self._named[digest]:
                del self._named[digest]
                self.used_bytes -= size_bytes
                free[digest] = size_bytes
        return free

    def digests(self) -> KeysView[bytes]:
        return self._named.keys()
