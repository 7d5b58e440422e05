"""The typed addresses that a node wants to join through: asked for, knocked at, joined; tried again with back-off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from protocol.errors import RemoteProtocolError
from protocol.key_statement import verify_key_statement
from protocol.limits import ENROL_RETRY_MS_MAX, ENROL_RETRY_MS_MIN
from protocol.machines.contract import Effects, Now, Publish, SetTimer
from protocol.machines.events import Discovered, KeptJoin, StatementWanted
from protocol.record import Record


class JoinView(Record, frozen=True):
    address: str
    state: str
    attempts: int
    problem: str


class _Join:
    def __init__(self, *, kept: bool = False) -> None:
        self.kept = kept  # in the work directory, from where it may be taken away
        self.state: Literal["asking", "knocking", "joined"] = "asking"
        self.attempts = 0
        self.problem = ""


class Joins:
    def __init__(self, addresses: Iterable[str]) -> None:
        self._joins = {address: _Join() for address in addresses}  # bounded by the operator, and limits.KEPT_JOINS_MAX

    def keep(self, joins: Iterable[KeptJoin], now: Now) -> Effects:
        """Those of the work directory, all of them. A new one is asked for its statement, unless that came with an
        invitation.
        """
        wanted = {one.address: one for one in joins}
        for address in [address for address, join in self._joins.items() if join.kept and address not in wanted]:
            del self._joins[address]
        new = [one for one in wanted.values() if one.address not in self._joins]
        self._joins |= {one.address: _Join(kept=True) for one in new}
        return tuple(self._first(one, now) for one in new)

    def _first(self, one: KeptJoin, now: Now) -> Publish:
        try:
            certified = verify_key_statement(one.statement, now.wall_ms)
        except RemoteProtocolError:
            return self.ask(one.address)  # there was none, or it has expired
        return Publish(event=Discovered(certified=certified, heard_at=one.address, typed=True))

    def ask_all(self) -> list[Publish]:
        """For the key statements of addresses at which nobody has answered yet."""
        return [self.ask(address) for address, join in self._joins.items() if join.state == "asking"]

    def ask(self, address: str) -> Publish:
        return Publish(event=StatementWanted(address=address))

    def ask_again(self) -> list[Publish]:
        """Of those that are not joined all, as somebody there may be let in now."""
        return [self.ask(address) for address, join in self._joins.items() if join.state != "joined"]

    def has_named(self, addresses: Iterable[str]) -> bool:
        """Whether the operator named one of these."""
        return any(address in self._joins for address in addresses)

    def parted(self, addresses: Iterable[str]) -> None:
        """The node at these addresses is a peer no longer."""
        for address in addresses:
            if address in self._joins:
                self._joins[address].state = "asking"

    def found(self, address: str) -> None:
        """A statement came from there."""
        join = self._joins.get(address)
        if join is not None and join.state == "asking":
            join.state = "knocking"

    def joined(self, addresses: Iterable[str], *, through_another: bool = False) -> list[Publish]:
        """The node at these addresses is a peer. One that a client met `through_another` is not yet joined: it may be
        one of those from where a statement came, which are asked once more, and then it is dialled as well.
        """
        if through_another:
            return [self.ask(address) for address, join in self._joins.items() if join.state == "knocking"]
        for address in addresses:
            if address in self._joins:
                self._joins[address].state, self._joins[address].problem = "joined", ""
        return []

    def retry(self, address: str, sentence: str, now: Now) -> Effects:
        """It failed, with the reason; the next try comes later each time."""
        join = self._joins.get(address)
        if join is None or join.state == "joined":
            return ()
        join.state, join.problem = "asking", sentence
        join.attempts += 1
        pause = min(ENROL_RETRY_MS_MAX, ENROL_RETRY_MS_MIN * 2 ** min(join.attempts, 10))
        return (SetTimer(name=f"join:{address}", at_ns=now.after_ms(pause)),)

    def views(self) -> tuple[JoinView, ...]:
        return tuple(
            JoinView(address=address, state=join.state, attempts=join.attempts, problem=join.problem)
            for address, join in self._joins.items()
        )
