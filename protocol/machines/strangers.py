"""Nodes that were seen and are no peers: they are listed, and get nothing."""

from __future__ import annotations

from typing import Literal

from protocol.key_statement import Certified
from protocol.limits import STRANGERS_MAX
from protocol.machines.events import PeersAllowed
from protocol.record import Record

Standing = Literal["stranger", "waiting", "banned"]


class StrangerView(Record, frozen=True):
    """`waiting`: it knows a common token, and the operator has not accepted it."""

    node: bytes
    name: str
    addresses: tuple[str, ...]
    standing: Standing


class Strangers:
    """`allowed`: whom the operator lets be a peer, as far as it was told."""

    def __init__(self) -> None:
        self.allowed = PeersAllowed()
        self._known: dict[bytes, Certified] = {}  # limits.STRANGERS_MAX
        self._waiting: set[bytes] = set()  # limits.STRANGERS_MAX

    def add(self, certified: Certified, *, waiting: bool = False) -> bool:
        """False for what somebody repeats of an older statement. Beyond STRANGERS_MAX the newest is not listed."""
        node = certified.node
        known = self._known.get(node)
        if known is not None and certified.statement.sequence < known.statement.sequence:
            return False
        if known is not None or len(self._known) < STRANGERS_MAX:
            self._known[node] = certified
            if waiting:
                self._waiting.add(node)
        return True

    def may_be_met(self, certified: Certified) -> bool:
        """Whether enrolment would knock. Others must take no place among those that are sought: they never prove, and
        nobody says that they failed.
        """
        return not certified.is_client and certified.node not in self.allowed.banned

    def forget(self, node: bytes) -> None:
        self._known.pop(node, None)
        self._waiting.discard(node)

    def allow(self, allowed: PeersAllowed) -> list[Certified]:
        """Takes the operator's new word. Returns those that may be peers by it and might not be before."""
        before, self.allowed = self.allowed, allowed
        freed = [node for node in self._known if allowed.admits(node) and not before.admits(node)]
        self._waiting.difference_update(freed)
        return [self._known[node] for node in freed]

    def views(self) -> tuple[StrangerView, ...]:
        return tuple(
            StrangerView(
                node=node,
                name=one.statement.name,
                addresses=one.statement.addresses,
                standing=self._standing(node),
            )
            for node, one in sorted(self._known.items())
        )

    def _standing(self, node: bytes) -> Standing:
        if node in self.allowed.banned:
            return "banned"
        return "waiting" if node in self._waiting else "stranger"

    def check(self) -> None:
        assert len(self._known) <= STRANGERS_MAX
        assert self._waiting <= self._known.keys()
