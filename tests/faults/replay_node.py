"""The machines of one node as they stand after a restart, fed with frames; what each frame causes is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from actors.adapters.store import LocalStore
from flotta_p2p.identity import load_identity
from protocol import kinds
from protocol.key_statement import KeyStatement, sign_key_statement
from protocol.machines.contract import Now, Persist, Publish, Put, Send, StartTask
from protocol.machines.delivery import Courier
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import (
    Arrived,
    Counted,
    JobChanged,
    Outgoing,
    PeerProved,
    ProjectsHeld,
    SubmitterProved,
    Transmit,
)
from protocol.machines.gate import Gate
from protocol.machines.membership import Membership
from protocol.machines.scheduler import Scheduler
from protocol.machines.worker import Worker
from protocol.policy import NodePolicy, SourcePolicy
from protocol.tokens import ProjectKey
from protocol.wiring import takers

DATABASE: Final = Path("jobs.sqlite")
BOOT: Final = 2**50  # above all that the wall clock gave
# News that change something for others; the rest only asks or tells.
EFFECTS: Final = (PeerProved, SubmitterProved, JobChanged)


def rows_of(workdir: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """All records of a node that does not run."""
    store = LocalStore.open(workdir, metadata=DATABASE)
    try:
        return store.load(sorted(kinds.KINDS))
    finally:
        store.close()


class ReplayNode:
    """Only frames come in and nothing goes out. `second_effects` are what no frame that came before may cause."""

    def __init__(
        self, workdir: Path, project: ProjectKey, source: str, rows: dict[str, list[tuple[bytes, bytes]]], now: Now
    ) -> None:
        identity = load_identity(workdir / "keys")
        self.id = identity.node
        self.second_effects: list[str] = []
        self.refused = 0
        self._machines: dict[str, Any] = {"gate": Gate(identity.key, BOOT, rows)}
        sources = {source: frozenset([project.project_id])}
        policy = NodePolicy(sources={source: SourcePolicy(projects=sources[source])})
        inner: dict[str, Any] = {
            "membership": Membership(self.id, source, sources, (), rows),
            "scheduler": Scheduler(identity.key, self.id, source, BOOT, sources, rows),
            "worker": Worker(identity.key, self.id, policy, rows),
        }
        for owner, machine in inner.items():
            self._machines[owner] = Courier(machine, owner, self.id, BOOT, BOOT, rows)
        self._machines["enrolment"] = Enrolment(self.id, BOOT, bytes(32), identity.curve.public, identity.seal.public)
        says = KeyStatement(
            version=1,
            curve_key=identity.curve.public,
            seal_key=identity.seal.public,
            addresses=(),
            sequence=BOOT,
            not_after_ms=now.wall_ms + 1_000_000,
            name=source,
        )
        held = ProjectsHeld(projects=(project,), statement=sign_key_statement(says, identity.key))
        for owner in inner:
            self._carry_out(self._machines[owner].begin(now), now)
        self._publish(held, now)
        self.second_effects.clear()  # of the restart itself

    def feed(self, arrived: Arrived, now: Now) -> None:
        self._publish(arrived, now)

    def _publish(self, event: Any, now: Now) -> None:
        if isinstance(event, EFFECTS):
            self.second_effects.append(type(event).__name__)
        if isinstance(event, Transmit):
            return
        self.refused += isinstance(event, Counted)
        for owner in takers(event):
            if owner in self._machines:
                self._carry_out(self._machines[owner].step(event, now), now)

    def _carry_out(self, effects: tuple[Any, ...], now: Now) -> None:
        for effect in effects:
            match effect:
                case Persist(writes=writes):
                    self.second_effects += [
                        f"{type(one).__name__} {getattr(one, 'kind', '')}"
                        for one in writes
                        if not (isinstance(one, Put) and one.kind == kinds.SEEN_BOOT)
                    ]
                case StartTask():
                    self.second_effects.append("StartTask")
                case Send():
                    self._carry_out(self._machines["gate"].step(Outgoing(send=effect), now), now)
                case Publish(event=event):
                    self._publish(event, now)
                case _:
                    pass  # timers do not fire here, and a refusal is counted by the gate of a whole node
