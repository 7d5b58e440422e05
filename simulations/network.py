"""The virtual network: peers' connections, sessions at the door, discovery; it loses, delays, doubles, replays."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.machines.events import Arrived, DialDoor, Discovered, StatementMissing
from protocol.wire.frame import parse_header
from protocol.wire.registry import BY_NUMBER
from protocol.wire.relay import is_relayed
from simulations.partitions import HELD, Cuts
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World

RECORDED_MAX: Final = 400  # frames kept for replay
ANNOUNCE_MS: Final = 10_000  # discovery tells everybody again so often


class _End(NamedTuple):
    """The far end of a door session, as one side sends to it."""

    node: Node
    session: bytes
    project: bytes
    dialled: bool  # whether the far end is the one that dialled


class _Frame(NamedTuple):
    """A frame on its way: to a session, or over the connection that proves `sender`."""

    raw: bytes
    sender: Node
    receiver: Node
    session: bytes = b""


class Network:
    def __init__(self, world: World) -> None:
        self._world = world
        self._ends: dict[tuple[int, bytes], _End] = {}  # (number of a node, its session): where its frames go
        self._recorded: deque[_Frame] = deque(maxlen=RECORDED_MAX)
        self._ways_back: dict[tuple[int, int], tuple[int, int]] = {}  # (node, its client) → lives in which it spoke
        self._knocks = 0
        self.cuts = Cuts(world.options.cuts)
        self.sent = self.lost = self.cut = self.replayed = 0

    # --- frames ------------------------------------------------------------------------------------------------------

    def send(self, sender: Node, raw: bytes, node: bytes, session: bytes) -> None:
        """Take a sealed frame for a node, or for the far end of a session; its fate is the seed's."""
        if session:
            end = self._ends.get((sender.number, session))
            if end is None:
                self._world.note(sender, "network", "no session", _kind(raw))
                return
            frame = _Frame(raw, sender, end.node, end.session)
        else:
            frame = _Frame(raw, sender, self._world.by_id[node])
            if not self._connected(frame):
                self._world.note(sender, "network", "no way", f"{_kind(raw)} to {frame.receiver.name}")
                return
        self.sent += 1
        options, rng, chaos = self._world.options, self._world.rng, self._world.rough
        if chaos and rng.random() < options.loss:
            self.lost += 1
            self._world.note(sender, "network", "lost", f"{_kind(raw)} to {frame.receiver.name}")
        else:
            self._carry(frame)
        if chaos and rng.random() < options.duplicates:
            self._carry(frame)
        if chaos and self._recorded and rng.random() < options.replays:
            self.replayed += 1
            self._carry(self._recorded[rng.randrange(len(self._recorded))])
        self._recorded.append(frame)

    def _connected(self, frame: _Frame) -> bool:
        """A client is reached over the connection that it opened, as long as both ends live. It dials its schedulers
        alone.
        """
        sender, receiver = frame.sender, frame.receiver
        if receiver.plan.is_client:
            return self._ways_back.get((sender.number, receiver.number)) == (sender.life, receiver.life)
        if sender.plan.is_client and receiver.number not in sender.plan.schedulers:
            raise Violation(f"the client {sender.name} dials {receiver.name}, which is no scheduler of it")
        return True

    def _carry(self, frame: _Frame) -> None:
        options, rng = self._world.options, self._world.rng
        delay_ns = rng.randint(options.delay_ms_min * 1_000_000, options.delay_ms_max * 1_000_000)
        if self._world.rough and rng.random() < options.spikes:
            delay_ns += options.spike_ms * 1_000_000
        heals_ms = self._heals_ms(frame)
        if heals_ms is not None:
            if rng.random() >= HELD:
                self._cut_off(frame)
                return
            delay_ns += heals_ms * 1_000_000 - self._world.now_ns
        self._world.after(delay_ns, lambda: self._arrive(frame))

    def _heals_ms(self, frame: _Frame) -> int | None:
        if not self._world.chaos:
            return None
        return self.cuts.heals_ms(frame.sender.number, frame.receiver.number, self._world.now_ms)

    def _cut_off(self, frame: _Frame) -> None:
        self.cut += 1
        self._world.note(frame.sender, "network", "cut", f"{_kind(frame.raw)} to {frame.receiver.name}")

    def _severed(self, one: Node, other: Node) -> bool:
        return self._world.chaos and self.cuts.severed(one.number, other.number, self._world.now_ms)

    def _arrive(self, frame: _Frame) -> None:
        """What was on its way when a cut began does not get through."""
        if self._heals_ms(frame) is not None:
            self._cut_off(frame)
            return
        receiver = frame.receiver
        if not receiver.up:
            return
        if not frame.session:
            if frame.sender.plan.is_client:
                self._ways_back[receiver.number, frame.sender.number] = (receiver.life, frame.sender.life)
            receiver.deliver("gate", Arrived(raw=frame.raw, node=frame.sender.own_id))
            return
        back = self._ends.get((receiver.number, frame.session))
        if back is not None:
            event = Arrived(
                raw=frame.raw,
                session=frame.session,
                project=back.project if back.dialled else b"",
                dialled=not back.dialled,
            )
            receiver.deliver("gate", event)

    # --- the door ----------------------------------------------------------------------------------------------------

    def dial(self, joiner: Node, event: DialDoor) -> None:
        """Only a node that is up and holds the project opens its door to the project's key."""
        responder = self._world.by_id[event.node]
        if not responder.up or event.project not in responder.project_ids or self._severed(joiner, responder):
            return
        self._knocks += 1
        knock = b"knock:" + self._knocks.to_bytes(4)
        self._ends[joiner.number, event.session] = _End(responder, knock, event.project, dialled=False)
        self._ends[responder.number, knock] = _End(joiner, event.session, event.project, dialled=True)

    def hang_up(self, node: Node, session: bytes) -> None:
        """From now on nothing goes in or out at this end."""
        self._ends.pop((node.number, session), None)

    def crashed(self, node: Node) -> None:
        for number, session in [key for key in self._ends if key[0] == node.number]:
            del self._ends[number, session]

    # --- discovery ---------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Every announced node hears of every other one, and so again later."""
        present = [
            node
            for node in self._world.nodes
            if node.open and node.plan.meets == "announced" and not node.plan.is_client
        ]
        for seen in present:
            for hearer in present:
                if hearer is not seen and not self._severed(seen, hearer):
                    heard = Discovered(certified=seen.certified, heard_at=seen.address)
                    self._tell(hearer, heard)
        self._world.after(ANNOUNCE_MS * 1_000_000, self.announce)

    def ask_statement(self, asker: Node, address: str) -> None:
        """The statement of a typed address, or that nobody answered."""
        target = self._world.by_address[address]
        if target.open and not target.paused and not self._severed(asker, target):
            self._tell(asker, Discovered(certified=target.certified, heard_at=address, typed=True))
        else:
            self._tell(asker, StatementMissing(address=address, sentence="nobody answered"))

    def _tell(self, hearer: Node, event: Discovered | StatementMissing) -> None:
        life = hearer.life

        def arrive() -> None:
            if hearer.up and hearer.life == life:
                hearer.deliver("membership", event)

        self._world.after(self._world.rng.randint(1, 1_000) * 1_000_000, arrive)


def _kind(raw: bytes) -> str:
    if is_relayed(raw):
        return "relayed frame"
    return BY_NUMBER[parse_header(raw).type].record.__name__
