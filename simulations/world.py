"""The world of one seed: virtual time, one queue of events, one source of chance; first chaos, then calm.

While things break, nothing wrong may happen (safety). Then faults stop, every node is up, and within stated limits
all peers are together, every job has ended, new jobs succeed, and nothing is left in any outbox (liveness).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from protocol import kinds
from protocol.ids import short_job_id
from protocol.machines.contract import Machine
from protocol.machines.delivery import CourierSnapshot
from protocol.machines.events import CONTROL_SESSION, ControlAnswer
from protocol.machines.jobs import JobRow
from protocol.machines.membership import MembershipSnapshot
from protocol.machines.worker import WorkerSnapshot
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record
from protocol.wire.jobs import ENDED, JobStatus
from simulations.checkers import ROW_BYTES_MAX, Checkers
from simulations.client import Client
from simulations.network import Network
from simulations.node import Node, Parts
from simulations.options import CrashPlan, JobPlan, Options
from simulations.trace import Trace
from simulations.violation import Violation

ARMED_MS: Final = 3_000  # a crash that waits for a commit comes after so long anyway
TOGETHER_MS: Final = 90_000  # knocks are at most ENROL_RETRY_MS_MAX apart, and a handshake may begin just before calm
ENDS_MS: Final = 60_000  # an acknowledged job ends so long after the faults
QUIET_MS: Final = 60_000  # the last outbox row is repeated after RETRY_MS_MAX at the latest
PROBE_LEASE_MS: Final = 15_000
EVENTS_MAX: Final = 20_000_000  # of one run; more means that something runs in circles


class World:
    def __init__(self, options: Options, trace: Trace, parts: Parts | None = None) -> None:
        self.options = options
        self.trace = trace
        self.parts = parts if parts is not None else Parts()
        self.rng = Random(f"run/{options.seed}/{len(options.nodes)}")
        self.now_ns = 0
        self.chaos = True
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self.events = 0
        self.steps = 0  # of all machines of all nodes
        self.projects = tuple(
            ProjectKey(hashlib.sha256(f"project/{options.seed}/{number}".encode()).digest()) for number in range(2)
        )
        self.network = Network(self)
        self.checkers = Checkers(self)
        self.nodes: list[Node] = []
        for number, plan in enumerate(options.nodes):
            self.nodes.append(Node(self, number, plan, tuple(self.projects[one] for one in plan.projects)))
        self.by_id = {node.own_id: node for node in self.nodes}
        self.by_address = {node.address: node for node in self.nodes}
        self.clients = [Client(self, number, self.nodes[job.node], job) for number, job in enumerate(options.jobs)]
        self._down: dict[int, CrashPlan] = {}  # number of a node: the crash that waits or that keeps it down

    @property
    def job_ids(self) -> dict[bytes, Client]:
        return {client.job_id: client for client in self.clients if not client.plan.altered}

    def typed_by(self, node: Node) -> tuple[str, ...]:
        """The addresses that its operator typed: all others, for one that is not found by discovery."""
        return tuple(one.address for one in self.nodes if one is not node) if node.plan.meets == "typed" else ()

    # --- time --------------------------------------------------------------------------------------------------------

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.events += 1
        heapq.heappush(self._queue, (self.now_ns + delay_ns, self.events, action))

    def run_for(self, ms: int) -> None:
        end_ns = self.now_ns + ms * 1_000_000
        while self._queue and self._queue[0][0] <= end_ns:
            self.now_ns, _, action = heapq.heappop(self._queue)
            action()
            if self.events > EVENTS_MAX:
                raise Violation(f"more than {EVENTS_MAX} events: something runs in circles")
        self.now_ns = end_ns

    def run_until(self, condition: Callable[[], str], limit_ms: int) -> None:
        """Until the condition has nothing to complain about; its last complaint becomes the violation."""
        end_ns = self.now_ns + limit_ms * 1_000_000
        while complaint := condition():
            if self.now_ns >= end_ns:
                raise Violation(f"{limit_ms / 1000:g} s after the faults ended: {complaint}")
            self.run_for(250)

    def note(self, node: Node, machine: str, event: str, detail: str = "", *, main: bool = False) -> None:
        self.trace.add(self.now_ns, node.name, machine, event, detail, main=main)

    # --- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Violation, or what a machine raised."""
        for node in self.nodes:
            self.after(node.plan.start_ms * 1_000_000, node.start)
        for crash in self.options.crashes:
            self.after(crash.at_ms * 1_000_000, partial(self._crash, crash))
        for client in self.clients:
            self.after(client.plan.at_ms * 1_000_000, client.submit)
            if client.plan.cancel_after_ms:
                self.after((client.plan.at_ms + client.plan.cancel_after_ms) * 1_000_000, client.cancel)
        self.network.announce()
        self.run_for(self.options.chaos_ms)
        self._calm()
        self.run_until(self._apart, TOGETHER_MS)
        self.run_until(self._live, ENDS_MS)
        probes = self._probe()
        self.run_until(self._live, ENDS_MS)
        self.run_until(self._busy, QUIET_MS)
        self._settle(probes)

    def _calm(self) -> None:
        self.chaos = False
        self.trace.add(self.now_ns, "", "world", "calm", "faults have ended", main=True)
        for node in self.nodes:
            self._down.pop(node.number, None)
            node.disarm()
            if not node.up:
                node.start()

    def _probe(self) -> list[Client]:
        """One more job for each project with holders: with everybody there, it must succeed."""
        probes = []
        for number in range(len(self.projects)):
            members = [node for node in self.nodes if number in node.plan.projects]
            holders = self.holders(number)
            if members and holders:
                node = self.rng.choice(members)
                plan = JobPlan(
                    at_ms=0,
                    node=node.number,
                    project=number,
                    lease_ms=PROBE_LEASE_MS,
                    deadline_ms=ENDS_MS,
                    life_ms=3_600_000,
                    cancel_after_ms=0,
                    listed=False,
                    altered=False,
                )
                probes.append(Client(self, len(self.clients), node, plan, holders_min=len(holders)))
                self.clients.append(probes[-1])
                probes[-1].submit()
        return probes

    def _settle(self, probes: list[Client]) -> None:
        accepted = [client for client in self.clients if client.state == "accepted"]
        for client in accepted:
            client.fetch()
        self.run_for(1_000)
        for client in accepted:
            row = self.checkers.finished(client)
            cause = f": {row.cause.sentence}" if row.cause else ""
            self.note(client.node, "client", row.state, f"job {client.number}{cause}", main=True)
        for probe in probes:
            if probe.status is None or probe.status.state != "succeeded":
                raise Violation(f"with all nodes up and nothing broken, job {probe.number} did not succeed")

    # --- crashes -----------------------------------------------------------------------------------------------------

    def _crash(self, crash: CrashPlan) -> None:
        node = self.nodes[crash.node]
        if not node.up or crash.node in self._down or not self.chaos:
            return
        self._down[crash.node] = crash
        if crash.moment == "at once":
            self.crash_now(node)
        else:
            node.arm(crash.moment)
            life = node.life
            self.after(ARMED_MS * 1_000_000, lambda: self._crash_anyway(node, life))

    def _crash_anyway(self, node: Node, life: int) -> None:
        if self.chaos and node.up and node.life == life:
            self.crash_now(node)

    def crash_now(self, node: Node) -> None:
        crash, life = self._down[node.number], node.life
        node.crash()
        if crash.reboot:
            node.reboot_clock()

        def start() -> None:
            if not node.up and node.life == life:
                self._down.pop(node.number, None)
                node.start()

        self.after(crash.down_ms * 1_000_000, start)

    # --- what the calm must bring ------------------------------------------------------------------------------------

    def holders(self, project: int) -> list[Node]:
        return [node for node in self.nodes if any(project in open_to for open_to in node.plan.sources.values())]

    def _apart(self) -> str:
        """Which two nodes with a common project are not yet together in all of them."""
        for node in self.nodes:
            snapshot = _inner(node.machines["membership"])
            assert isinstance(snapshot, MembershipSnapshot)
            views = {view.node: view for view in snapshot.peers}
            for other in self.nodes:
                common = set(node.project_ids) & set(other.project_ids)
                view = views.get(other.own_id)
                if other is node or not common or not (_can_meet(node, other) or view is not None):
                    continue
                if view is None or set(view.projects) != common or view.presence != "present":
                    return f"{node.name} and {other.name} are apart"
                if {(offer.name, offer.project) for offer in view.sources} != other.offers(common):
                    return f"{node.name} does not know the sources of {other.name}"
        return ""

    def _live(self) -> str:
        for client in self.clients:
            if client.state in ("new", "asking") and client.refusal == "":
                return f"job {client.number} is neither accepted nor refused"
        for node in self.nodes:
            for value in node.store.values(kinds.JOB):
                row = decode_record(value, JobRow, bytes_max=ROW_BYTES_MAX)
                if row.state not in ENDED:
                    return f"job {short_job_id(row.job_id)} at {node.name} is still {row.state}"
        return ""

    def _busy(self) -> str:
        """Whether anything is left of jobs that have ended: an unacknowledged message, a task, an attempt."""
        for node in self.nodes:
            for name in ("membership", "scheduler", "worker"):
                snapshot = node.machines[name].snapshot()
                assert isinstance(snapshot, CourierSnapshot)
                if snapshot.waiting:
                    return f"{snapshot.waiting} messages of {node.name} {name} are not acknowledged"
            worker = _inner(node.machines["worker"])
            assert isinstance(worker, WorkerSnapshot)
            if worker.running or worker.ended or not node.tasks.idle():
                return f"{node.name} still holds {worker.running + worker.ended} tasks of jobs that have ended"
        return ""

    # --- answers -----------------------------------------------------------------------------------------------------

    def answer(self, node: Node, event: ControlAnswer) -> None:
        number = int.from_bytes(event.session.removeprefix(CONTROL_SESSION)[:4])
        self.clients[number].answered(event.message)

    def job_changed(self, node: Node, status: JobStatus) -> None:
        cause = f" {status.cause.code}" if status.cause else ""
        detail = f"{short_job_id(status.job_id)} {status.state} {status.tasks_done}/{status.tasks_all}{cause}"
        self.note(node, "scheduler", "job changed", detail, main=True)


def _inner(machine: Machine) -> object:
    snapshot = machine.snapshot()
    assert isinstance(snapshot, CourierSnapshot)
    return snapshot.inner


def _can_meet(node: Node, other: Node) -> bool:
    """Two announced nodes hear of each other; one with typed addresses knows all."""
    return "typed" in (node.plan.meets, other.plan.meets) or node.plan.meets == other.plan.meets
