"""The machines of one virtual node, made from its committed rows as the node of the product makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from protocol.ids import node_id
from protocol.key_statement import LIFE_MS, Certified, KeyStatement, sign_key_statement, verify_key_statement
from protocol.machines.contract import Machine
from protocol.machines.delivery import Courier
from protocol.machines.enrolment import Enrolment
from protocol.machines.gate import Gate
from protocol.machines.membership import Membership
from protocol.machines.poller import Poller
from protocol.machines.scheduler import Scheduler
from protocol.machines.worker import Worker
from protocol.policy import NodePolicy, SourcePolicy
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from simulations.clocks import WALL_MS
from simulations.faults import MachineName

HEARTBEAT_MS: Final = 10_000  # between polls of a client
Rows = Mapping[str, list[tuple[bytes, bytes]]]


class Parts(NamedTuple):
    """The classes of the machines that carry the trust; plants.py puts broken ones in their place."""

    gate: type[Gate] = Gate
    courier: type[Courier] = Courier
    scheduler: type[Scheduler] = Scheduler
    worker: type[Worker] = Worker


class Identity:
    """Who a node is: its key, and what it says of itself. A client has no addresses."""

    def __init__(self, secret: str, name: str, addresses: tuple[str, ...], projects: tuple[ProjectKey, ...]) -> None:
        self.name = name
        self.projects = projects
        self.secret = hashlib.sha256(secret.encode()).digest()
        self.key = SigningKey(self.secret)
        self.own_id = node_id(self.key.public_key)
        self.curve_key = hashlib.sha256(b"curve" + self.secret).digest()
        self.seal_key = hashlib.sha256(b"seal" + self.secret).digest()
        self._addresses = addresses

    @property
    def is_client(self) -> bool:
        return not self._addresses

    def statement(self, sequence: int) -> Certified:
        statement = KeyStatement(
            version=1,
            curve_key=self.curve_key,
            seal_key=self.seal_key,
            addresses=self._addresses,
            sequence=sequence,
            not_after_ms=WALL_MS + LIFE_MS,
            name=self.name,
            hints=tuple(project.hint(self.own_id) for project in self.projects),
        )
        return verify_key_statement(sign_key_statement(statement, self.key), WALL_MS)


class MachineSet(NamedTuple):
    """What the machines of one node are made from."""

    parts: Parts
    identity: Identity
    sources: dict[str, frozenset[bytes]]
    joins: tuple[str, ...]

    @property
    def client(self) -> bool:
        return self.identity.is_client

    def make(self, machine: MachineName, boot_id: int, boot_ns: int, rows: Rows) -> Machine:
        """`boot_ns`, as in the product, is above all sequence numbers and incarnations of earlier lives of a boot."""
        identity = self.identity
        if machine == "gate":
            return self.parts.gate(identity.key, boot_id, rows, first_sequence=boot_ns, client=self.client)
        if machine == "enrolment":
            fresh = hashlib.sha256(identity.secret + boot_ns.to_bytes(8)).digest()
            keys = (identity.curve_key, identity.seal_key)
            return Enrolment(identity.own_id, boot_id, fresh, *keys, client=self.client)
        if machine == "poller":
            return Poller(identity.own_id, HEARTBEAT_MS)
        return self.parts.courier(self._core(machine, boot_id, rows), machine, identity.own_id, boot_id, boot_ns, rows)

    def _core(self, machine: MachineName, boot_id: int, rows: Rows) -> Machine:
        identity = self.identity
        if machine == "membership":
            return Membership(identity.own_id, identity.name, self.sources, self.joins, rows, client=self.client)
        if machine == "scheduler":
            return self.parts.scheduler(
                identity.key, identity.own_id, identity.name, boot_id, self.sources, rows, client=self.client
            )
        policy = NodePolicy(sources={name: SourcePolicy(projects=ids) for name, ids in self.sources.items()})
        return self.parts.worker(identity.key, identity.own_id, policy, rows)
