"""What a network has lived through, and what must hold of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from protocol.errors import FlottaError
from tests.faults.invariants import violations_of_folder, violations_of_jobs
from tests.faults.network import Broken, Network


@dataclass
class Outcome:
    hits: Counter[str] = field(default_factory=Counter)  # fault → how often it hit and was survived
    recoveries_s: list[float] = field(default_factory=list)
    jobs: list[bytes] = field(default_factory=list)  # acknowledged
    succeeded: int = 0
    refused: int = 0  # before an acknowledgement
    failures: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.hits += other.hits
        self.recoveries_s += other.recoveries_s
        self.jobs += other.jobs
        self.succeeded += other.succeeded
        self.refused += other.refused
        self.failures += other.failures

    @contextmanager
    def noting(self, fault: str) -> Iterator[None]:
        """A broken promise in the block is noted, and what follows the block goes on."""
        try:
            yield
        except (Broken, AssertionError, FlottaError) as error:
            self.failures.append(f"{fault}: {error}")
            print(f"{fault} BROKEN: {error}", flush=True)


def violations(net: Network, acknowledged: Sequence[bytes]) -> list[str]:
    """Of a network that was stopped."""
    databases = [net.database(name) for name in net.names]
    found = violations_of_jobs(net.database(net.scheduler), databases, acknowledged)
    for database in databases:
        found += violations_of_folder(database.parent)
    return found
