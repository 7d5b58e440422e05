"""The gate's part of relaying: which way a frame goes, and which foreign frames this node passes on.

A client is reached over the connection that it opened to its schedulers. To everybody else its frames go through one
of them, and theirs to it. A node passes frames on only where one end is a client of its own and both ends have proved
a common project to it: it is no open relay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import PEER_AWAY_MS, RELAYED_FRAMES_BURST, RELAYED_FRAMES_PER_S
from protocol.machines.contract import Now, Publish
from protocol.machines.events import Arrived, Transmit, Unseal
from protocol.rate import FairShare
from protocol.replay import ReplayWindow
from protocol.wire.registry import Connection
from protocol.wire.relay import FROM, TO, Relayed, pack_relayed, parse_relayed


class Link:
    """What the gate keeps of one peer or session."""

    def __init__(self, connection: Connection, key: bytes | None, projects: Iterable[bytes]) -> None:
        self.connection: Connection = connection
        self.key = key
        self.projects = frozenset(projects)
        self.window = ReplayWindow()
        self.boot_floor = 0
        self.clock_offset_ms = 0
        self.dialled = True  # whether this node holds a connection to it
        self.via = b""  # of one that is not dialled: who passed on its last frame; empty: it came by itself
        self.seal_key = b""
        self.heard_ns = 0  # when a frame of it came straight, by the boot clock


class Relay:
    """Ways to the peers that are not dialled. `peers` is the gate's own table."""

    def __init__(self, peers: Mapping[bytes, Link], *, client: bool) -> None:
        self._peers = peers
        self._client = client
        self._share = FairShare(per_s=RELAYED_FRAMES_PER_S, burst=RELAYED_FRAMES_BURST)
        self.dropped: frozenset[bytes] = frozenset()  # projects that peers have proved and this node no longer holds
        self.passed_on = 0  # frames

    def take(self, event: Arrived, now: Now) -> Publish:
        """A relayed frame is passed on, or unsealed when it is for this node. Raises RemoteProtocolError."""
        relayed = parse_relayed(event.raw)
        hop = self._peers.get(event.node)
        if event.via or hop is None:
            raise RemoteProtocolError(Code.STRANGER, "a relayed frame that does not come from a peer")
        self._check_share(b"of" + event.node, event, now)
        if relayed.way == FROM:
            return Publish(event=Unseal(sealed=relayed.sealed, sender=relayed.node, via=event.node))
        receiver = self._peers.get(relayed.node)
        if receiver is None or not self._shared(receiver, hop):
            raise RemoteProtocolError(
                Code.STRANGER, "a frame to pass on to a node that shares no project with its sender"
            )
        if not (self._is_own_client(hop) or self._is_own_client(receiver)):
            raise RemoteProtocolError(
                Code.STRANGER, "a frame to pass on between two nodes that are no clients of this one"
            )
        self._check_share(b"to" + relayed.node, event, now)
        self.passed_on += 1
        onward = Relayed(way=FROM, node=event.node, sealed=relayed.sealed)
        return Publish(event=Transmit(raw=pack_relayed(onward), node=relayed.node))

    def _check_share(self, whose: bytes, event: Arrived, now: Now) -> None:
        """Unsealing is dear, and what is passed on takes from this node's own share at the receiver."""
        if not self._share.admits(whose, len(event.raw), now.boot_ns / 1e9):
            raise RemoteProtocolError(Code.BUSY, "more relayed frames at once than one node may have passed on")

    def _shared(self, one: Link, other: Link) -> frozenset[bytes]:
        return (one.projects & other.projects) - self.dropped

    def _is_own_client(self, link: Link) -> bool:
        return not self._client and not link.dialled and not link.via

    def check_way(self, link: Link, event: Arrived) -> None:
        """Whether a frame of `link` may come this way. Raises RemoteProtocolError."""
        if event.via and link.dialled:
            raise RemoteProtocolError(Code.STRANGER, "a relayed frame of a node that this one is connected to")

    def way_to(self, link: Link, now: Now) -> bytes | None:
        """The peer through which frames go to `link`; empty: straight; None: nobody can pass them on now."""
        if link.dialled:
            return b""
        if not self._client:
            return link.via if link.via in self._peers else b""
        heard_ns = {node: one.heard_ns for node, one in self._peers.items() if one.dialled and self._shared(one, link)}
        if link.via in heard_ns and now.boot_ns - heard_ns[link.via] <= PEER_AWAY_MS * 1_000_000:
            return link.via
        return max(heard_ns, key=lambda node: (heard_ns[node], node == link.via), default=None)


def asked_to_pass_on(node: bytes, sealed: bytes) -> bytes:
    """The relayed frame by which a peer is asked to pass `sealed` on to `node`."""
    return pack_relayed(Relayed(way=TO, node=node, sealed=sealed))
