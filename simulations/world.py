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

from protocol.ids import short_job_id
from protocol.machines.events import CONTROL_SESSION, ControlAnswer
from protocol.tokens import ProjectKey
from protocol.wire.jobs import JobStatus
from simulations.breaker import Breaker
from simulations.checkers import Checkers
from simulations.liveness import apart, busy, live
from simulations.machines import Parts
from simulations.network import Network
from simulations.node import Node
from simulations.options import JobPlan, Options
from simulations.submitter import Submitter
from simulations.trace import Trace
from simulations.violation import Violation

TOGETHER_MS: Final = 90_000  # knocks are at most ENROL_RETRY_MS_MAX apart, and a handshake may begin just before calm
ENDS_MS: Final = 60_000  # an acknowledged job ends so long after the faults
QUIET_MS: Final = 60_000  # the last outbox row is repeated after RETRY_MS_MAX at the latest
PROBE_LEASE_MS: Final = 15_000
EVENTS_PER_MS_MAX: Final = 200  # of virtual time, and EVENTS_MAX in any case: more means that something runs in circles
EVENTS_MAX: Final = 20_000_000
EVENTS_PER_NODE_MAX: Final = 20_000  # thousands of nodes that meet have two thousand each


class World:
    def __init__(self, options: Options, trace: Trace, parts: Parts | None = None) -> None:
        self.options = options
        self.trace = trace
        self.parts = parts if parts is not None else Parts()
        self.rng = Random(f"run/{options.seed}/{len(options.nodes)}")
        self.now_ns = 0
        self.chaos = True  # things may break; never again after the calm has begun
        self.rough = True  # the network is bad now
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self.events = 0
        self.steps = 0  # of all machines of all nodes
        self.projects = tuple(
            ProjectKey(hashlib.sha256(f"project/{options.seed}/{number}".encode()).digest()) for number in range(2)
        )
        self.network = Network(self)
        self.breaker = Breaker(self)
        self.checkers = Checkers(self)
        self.nodes: list[Node] = []
        for number, plan in enumerate(options.nodes):
            self.nodes.append(Node(self, number, plan, tuple(self.projects[one] for one in plan.projects)))
        self.by_id = {node.own_id: node for node in self.nodes}
        self.by_address = {node.address: node for node in self.nodes}
        self.submitters = [
            Submitter(self, number, self.nodes[job.node], job) for number, job in enumerate(options.jobs)
        ]
        self.signed: dict[bytes, Submitter] = {}  # job id: who signed the order

    def typed_by(self, node: Node) -> tuple[str, ...]:
        """The addresses that its operator typed: of a client its schedulers, of one that is not found by discovery all
        that can be dialled.
        """
        if node.plan.is_client:
            return tuple(self.nodes[number].address for number in node.plan.schedulers)
        others = (one for one in self.nodes if one is not node and not one.plan.is_client)
        return tuple(one.address for one in others) if node.plan.meets == "typed" else ()

    def common(self, node: Node, other: Node) -> set[bytes]:
        """The projects in which these two become peers. A client and a node that it did not join need a scheduler of
        the client in the project, and two clients never do.
        """
        both = set(node.project_ids) & set(other.project_ids)
        if node.plan.is_client and other.plan.is_client:
            return set()
        if other.plan.is_client:
            node, other = other, node
        if not node.plan.is_client or other.number in node.plan.schedulers:
            return both
        helpers = (self.nodes[number] for number in node.plan.schedulers)
        return {project for one in helpers for project in both & set(one.project_ids)}

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.now_ns // 1_000_000

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.events += 1
        heapq.heappush(self._queue, (self.now_ns + delay_ns, self.events, action))

    def run_for(self, ms: int) -> None:
        queue, end_ns = self._queue, self.now_ns + ms * 1_000_000
        events_max = max(EVENTS_MAX, EVENTS_PER_MS_MAX * end_ns // 1_000_000, EVENTS_PER_NODE_MAX * len(self.nodes))
        while queue and queue[0][0] <= end_ns:
            self.now_ns, _, action = heapq.heappop(queue)
            action()
            if self.events > events_max:
                raise Violation(f"more than {events_max} events: something runs in circles")
        self.now_ns = end_ns

    def run_until(self, condition: Callable[[World], str], limit_ms: int) -> None:
        """Until the condition has nothing to complain about; its last complaint becomes the violation."""
        end_ns = self.now_ns + limit_ms * 1_000_000
        while complaint := condition(self):
            if self.now_ns >= end_ns:
                raise Violation(f"{limit_ms / 1000:g} s after the faults ended: {complaint}")
            self.run_for(250)

    def note(self, node: Node, machine: str, event: str, detail: str = "", *, main: bool = False) -> None:
        self.trace.add(self.now_ns, node.name, machine, event, detail, main=main)

    # --- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Violation, or what a machine raised."""
        self.run_chaos()
        self.run_calm()

    def run_chaos(self) -> None:
        for node in self.nodes:
            self.after(node.plan.start_ms * 1_000_000, partial(self._start, node))
        self.breaker.begin()
        for submitter in self.submitters:
            self.after(submitter.plan.at_ms * 1_000_000, submitter.submit)
            if submitter.plan.cancel_after_ms:
                self.after((submitter.plan.at_ms + submitter.plan.cancel_after_ms) * 1_000_000, submitter.cancel)
        self.network.announce()
        self.run_for(self.options.chaos_ms)

    def run_calm(self) -> None:
        self._calm()
        self.run_until(apart, TOGETHER_MS)
        self.run_until(live, ENDS_MS)
        probes = self._probe()
        self.run_until(live, ENDS_MS)
        self.run_until(busy, QUIET_MS)
        self._settle(probes)

    def _start(self, node: Node) -> None:
        if not node.up:
            node.start()

    def _calm(self) -> None:
        self.chaos = False
        self.trace.add(self.now_ns, "", "world", "calm", "faults have ended", main=True)
        self.breaker.calm()

    def _probe(self) -> list[Submitter]:
        """One more job for each project with holders: with everybody there, it must succeed."""
        probes = []
        for number in range(len(self.projects)):
            members = [node for node in self.nodes if number in node.plan.projects and not node.plan.is_client]
            if not members:
                continue
            node, project = self.rng.choice(members), self.projects[number].project_id
            holders = [one for one in self.holders(number) if one is node or project in self.common(node, one)]
            if holders:
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
                probes.append(Submitter(self, len(self.submitters), node, plan, holders_min=len(holders)))
                self.submitters.append(probes[-1])
                probes[-1].submit()
        return probes

    def _settle(self, probes: list[Submitter]) -> None:
        """Everybody asks once more: what was told before still stands."""
        accepted = [submitter for submitter in self.submitters if submitter.state == "accepted"]
        for submitter in accepted:
            submitter.fetch()
        self.run_for(1_000)
        for submitter in accepted:
            row = self.checkers.finished(submitter)
            cause = f": {row.cause.sentence}" if row.cause else ""
            self.note(submitter.node, "submitter", row.state, f"job {submitter.number}{cause}", main=True)
        for node in self.nodes:
            self.checkers.settled(node)
        for probe in probes:
            if probe.status is None or probe.status.state != "succeeded":
                raise Violation(f"with all nodes up and nothing broken, job {probe.number} did not succeed")

    def holders(self, project: int) -> list[Node]:
        return [node for node in self.nodes if any(project in open_to for open_to in node.plan.sources.values())]

    # --- answers -----------------------------------------------------------------------------------------------------

    def answer(self, node: Node, event: ControlAnswer) -> None:
        number = int.from_bytes(event.session.removeprefix(CONTROL_SESSION)[:4])
        self.submitters[number].answered(event.message)

    def job_changed(self, node: Node, status: JobStatus) -> None:
        cause = f" {status.cause.code}" if status.cause else ""
        detail = f"{short_job_id(status.job_id)} {status.state} {status.tasks_done}/{status.tasks_all}{cause}"
        self.note(node, "scheduler", "job changed", detail, main=True)
