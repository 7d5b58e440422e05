"""For whom a node still looks: of the members that it hears of, it makes PEERS_SOUGHT its peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.key_statement import Certified, hints_match
from protocol.limits import PEERS_MAX, PEERS_SOUGHT, SEEK_MS, STRANGERS_MAX
from protocol.machines.contract import Now, Publish
from protocol.machines.events import Discovered, Encountered
from protocol.machines.neighbours import Peer, met_again
from protocol.tokens import ProjectKey


class Search:
    def __init__(self) -> None:
        self.projects: tuple[ProjectKey, ...] = ()
        self.peers = 0  # that are known, as of the last beat and the meetings since
        self._asked = 0
        self._ask_at_ns = 0
        self._sought: set[bytes] = set()  # limits.PEERS_MAX: told to enrolment and not yet proved
        self._spare: dict[bytes, Discovered] = {}  # limits.STRANGERS_MAX: members that we know of and do not seek

    @property
    def room(self) -> int:
        """For how many more peers this node looks."""
        return max(0, PEERS_SOUGHT - self.peers - len(self._sought))

    def whom_to_ask(self, neighbours: Sequence[bytes], now: Now) -> bytes | None:
        """While there is room, one of the neighbours after the other, every SEEK_MS: what was lost of an earlier
        introduction, and members that came since, are heard of in the end.
        """
        first = self._ask_at_ns == 0  # whoever was met just now has introduced others already
        if not first and now.boot_ns < self._ask_at_ns:
            return None
        self._ask_at_ns = now.after_ms(SEEK_MS)
        if first or not self.room or not neighbours:
            return None
        self._asked += 1
        return neighbours[self._asked % len(neighbours)]

    def found(self, node: bytes) -> None:
        """It is a peer now."""
        self.peers += node in self._sought
        self._sought.discard(node)
        self._spare.pop(node, None)

    def is_member(self, certified: Certified, project: bytes) -> bool:
        """Whether its hints say so; only who knows the token can make them."""
        return any(
            one.project_id == project and hints_match(certified, [one.hint(certified.node)]) for one in self.projects
        )

    def failed(self, node: bytes) -> None:
        self._sought.discard(node)

    def lost(self, node: bytes) -> None:
        self._sought.discard(node)
        self._spare.pop(node, None)

    def tell(
        self, event: Discovered, *, known: bool, introduced: bool = False, beyond_room: bool = False
    ) -> list[Publish]:
        """Tells enrolment of a node: of one that was typed or is a peer (`known`) always, for it may share a further
        project; of strangers too, for enrolment says so; of another member only while there is room, or `beyond_room`.
        """
        node = event.certified.node
        member = hints_match(event.certified, [project.hint(node) for project in self.projects])
        if member and not event.typed and not known and node not in self._sought:
            if not self.room and not beyond_room:
                if len(self._spare) < STRANGERS_MAX:
                    self._spare[node] = event
                return []
            self._sought.add(node)
        encountered = Encountered(
            certified=event.certified, heard_at=event.heard_at, typed=event.typed, introduced=introduced
        )
        return [Publish(event=encountered)]

    def introduced(self, certified: Certified, proved: frozenset[bytes], *, beyond_room: bool) -> list[Publish]:
        """A hint, like one of discovery: the door decides whether it is a member. `proved`: the projects that it is a
        peer in, if it is one; then only a further project that it may share is news.
        """
        further = [one.hint(certified.node) for one in self.projects if one.project_id not in proved]
        if proved and not hints_match(certified, further):
            return []
        return self.tell(Discovered(certified=certified), known=bool(proved), introduced=True, beyond_room=beyond_room)

    def tell_again(self, certified: Certified, heard_at: str) -> list[Publish]:
        """Of a peer: a crash may have come between the proofs of two projects, or it holds another one now."""
        return self.tell(Discovered(certified=certified, heard_at=heard_at), known=True)

    def forgotten(self, peer: Peer, missing: Iterable[bytes]) -> list[Publish]:
        """Of a client: projects are `missing` in a peer's greeting that were proved to it. If its hints show one of
        them, it has forgotten the proof, and nobody knocks at a client: all is proved anew.
        """
        known = any(self.is_member(peer.certified, project) for project in missing)
        return [Publish(event=met_again(peer))] if known else []

    def more(self) -> list[Publish]:
        """Takes up members that were passed over while there was no room."""
        told: list[Publish] = []
        while self._spare and self.room:
            told += self.tell(self._spare.pop(next(iter(self._spare))), known=False)
        return told

    def check(self) -> None:
        assert len(self._sought) <= PEERS_MAX
        assert len(self._spare) <= STRANGERS_MAX
