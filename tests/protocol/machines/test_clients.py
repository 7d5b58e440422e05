"""A client, its scheduler and a node that the client cannot dial: they become peers, and talk, through the scheduler,
who can neither read, forge nor keep back one thing and pass another on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.errors import Code
from protocol.ids import node_id
from protocol.key_statement import Certified
from protocol.limits import HEARTBEAT_INTERVAL_MS, PEER_AWAY_MS, SENDER_FRAMES_BURST, STRANGERS_MAX
from protocol.machines.contract import Now, Publish, Received, Refuse, Send, SetTimer, TimerFired
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import (
    RELAY_SESSION,
    Arrived,
    Counted,
    DialDoor,
    Encountered,
    Introduce,
    Outgoing,
    PeerAdmitted,
    PeerProved,
    PeersAllowed,
    ProjectsHeld,
    StatementWanted,
    Transmit,
    Unseal,
)
from protocol.machines.gate import Gate
from protocol.machines.membership import Membership
from protocol.machines.relaying import asked_to_pass_on
from protocol.tokens import ProjectKey
from protocol.wire.door import Credential
from protocol.wire.peers import Greeting, Heartbeat
from protocol.wire.relay import FROM, TO, Relayed, is_relayed, pack_relayed, parse_relayed, sealing_info
from protocol.wiring import takers
from tests.protocol.builders import OTHER_PROJECT, PROJECT, messages, news, node_key, now, received, statement

CLIENT, SCHEDULER, NODE, OTHER_CLIENT = 0, 1, 2, 3
KEYS = {number: node_key(40 + number) for number in range(4)}
IDS = {number: node_id(key.public_key) for number, key in KEYS.items()}
Alter = Callable[[bytes], bytes]
BEAT = Heartbeat()


class Party:
    def __init__(self, number: int, projects: tuple[ProjectKey, ...]) -> None:
        client = number in (CLIENT, OTHER_CLIENT)
        fields: dict[str, Any] = {"addresses": ()} if client else {}
        self.id = IDS[number]
        self.says: Certified = statement(KEYS[number], projects=projects, seal_key=bytes([number + 1]) * 32, **fields)
        keys = (self.says.statement.curve_key, self.says.statement.seal_key)
        self.gate = Gate(KEYS[number], 1, {}, client=client)
        self.enrolment = Enrolment(self.id, 1, b"secret" + self.id, *keys, client=client)
        self.enrolment.step(ProjectsHeld(projects=projects, statement=self.says.data), now())
        self.heard: list[Received] = []
        self.counted: list[Counted] = []
        self.timers: dict[str, int] = {}


class Trio:
    """`alter`: what the scheduler does to the sealed bytes that it passes on."""

    def __init__(self, alter: Alter = lambda raw: raw) -> None:
        self.parties = [Party(number, (PROJECT,)) for number in range(4)]
        self.alter = alter
        self.at: Now = now()
        self.carried: list[tuple[int, int, bytes]] = []  # from, to, frame
        for client in (CLIENT, OTHER_CLIENT):
            self.befriend(client, SCHEDULER)
        self.befriend(SCHEDULER, NODE)

    def befriend(self, one: int, other: int) -> None:
        """They have met at the door of `other`, and straight frames have passed."""
        for party, peer, dialled in ((one, other, True), (other, one, one not in (CLIENT, OTHER_CLIENT))):
            self.admit(party, self.parties[peer].says, ("10.0.0.1:1",) if dialled else ())

    def admit(self, number: int, peer: Certified, addresses: tuple[str, ...], projects: tuple[bytes, ...] = ()) -> None:
        admitted = PeerAdmitted(
            node=peer.node,
            node_key=peer.node_key,
            curve_key=peer.statement.curve_key,
            seal_key=peer.statement.seal_key,
            addresses=addresses,
            projects=projects or (PROJECT.project_id,),
            name="",
        )
        self.publish(number, admitted)

    def feed(self, number: int, target: str, event: Any) -> None:
        party = self.parties[number]
        machine: Any = party.gate if target == "gate" else party.enrolment
        effects = machine.step(event, self.at)
        machine.check()
        for effect in effects:
            match effect:
                case Send():
                    self.feed(number, "gate", Outgoing(send=effect))
                case Refuse():
                    self.feed(number, "gate", effect)
                case SetTimer(name=name, at_ns=at_ns):
                    party.timers[name] = at_ns
                case Publish(event=Transmit() as transmit):
                    self.carry(number, transmit)
                case Publish(event=published):
                    self.publish(number, published)

    def publish(self, number: int, event: Any) -> None:
        party = self.parties[number]
        match event:
            case Counted():
                party.counted.append(event)
            case DialDoor():
                raise AssertionError("a door is dialled")
            case Unseal(sealed=sealed, sender=sender, via=via):
                info = sealing_info(sender, party.id)
                raw = sealed.removeprefix(info) if sealed.startswith(info) else b""
                self.feed(number, "gate", Arrived(raw=raw, node=sender, via=via))
            case PeerProved(certified=certified, project=project):
                client = number in (CLIENT, OTHER_CLIENT)
                self.admit(number, certified, () if client else certified.statement.addresses, (project,))
            case Received():
                party.heard.append(event)
        for taker in takers(event):
            if taker in ("gate", "enrolment"):
                self.feed(number, taker, event)

    def carry(self, number: int, transmit: Transmit) -> None:
        raw, to = transmit.raw, transmit.node
        if transmit.via:
            receiver = self.parties[list(IDS.values()).index(transmit.node)]
            assert transmit.seal_key == receiver.says.statement.seal_key
            raw = asked_to_pass_on(transmit.node, sealing_info(IDS[number], transmit.node) + transmit.raw)
            to = transmit.via
        elif number == SCHEDULER and is_relayed(raw):
            relayed = parse_relayed(raw)
            raw = pack_relayed(Relayed(way=FROM, node=relayed.node, sealed=self.alter(relayed.sealed)))
        receiver_number = list(IDS.values()).index(to)
        self.carried.append((number, receiver_number, raw))
        self.feed(receiver_number, "gate", Arrived(raw=raw, node=IDS[number]))

    def introduce(self) -> None:
        """The client hears of the node from its scheduler, and its patience passes."""
        self.feed(CLIENT, "enrolment", Encountered(certified=self.parties[NODE].says, introduced=True))
        self.knock()

    def knock(self) -> None:
        timers = self.parties[CLIENT].timers
        (name,) = [name for name in timers if name.startswith("knock:")]
        self.at = Now(timers.pop(name), self.at.wall_ms)
        self.feed(CLIENT, "enrolment", TimerFired(name=name))

    def beat(self, sender: int, receiver: int) -> None:
        self.feed(sender, "gate", Outgoing(send=Send(message=Heartbeat(), to=IDS[receiver])))

    def beats_heard(self, receiver: int, sender: int) -> int:
        return sum(
            one.sender == IDS[sender] for one in self.parties[receiver].heard if isinstance(one.message, Heartbeat)
        )


def test_a_client_and_a_node_that_it_cannot_dial_become_peers_through_its_scheduler() -> None:
    trio = Trio()
    trio.introduce()
    assert [type(one.message) for one in trio.parties[NODE].heard] == [Credential]
    assert [type(one.message) for one in trio.parties[CLIENT].heard] == [Credential]
    trio.beat(CLIENT, NODE)
    trio.beat(NODE, CLIENT)
    assert trio.beats_heard(NODE, CLIENT) == trio.beats_heard(CLIENT, NODE) == 1
    assert all((one, other) not in {(CLIENT, NODE), (NODE, CLIENT)} for one, other, _ in trio.carried)
    assert {one.via for one in trio.parties[NODE].heard} == {IDS[SCHEDULER]}  # to be named when silent


def test_a_client_hears_its_own_scheduler_straight() -> None:
    trio = Trio()
    trio.beat(SCHEDULER, CLIENT)
    trio.beat(CLIENT, SCHEDULER)
    assert trio.beats_heard(CLIENT, SCHEDULER) == trio.beats_heard(SCHEDULER, CLIENT) == 1
    assert not any(is_relayed(raw) for _, _, raw in trio.carried)


def test_the_scheduler_sees_nothing_of_what_it_passes_on_but_ids_and_size() -> None:
    trio = Trio()
    trio.introduce()
    trio.beat(NODE, CLIENT)
    assert trio.beats_heard(SCHEDULER, NODE) == 0
    assert not [one for one in trio.parties[SCHEDULER].heard if isinstance(one.message, Credential)]
    assert trio.parties[SCHEDULER].gate.snapshot().passed_on >= 3


@pytest.mark.parametrize("at", [0, -1])
def test_what_the_scheduler_alters_is_counted_and_not_believed(at: int) -> None:
    def altered(sealed: bytes) -> bytes:
        changed = bytearray(sealed)
        changed[at] ^= 1
        return bytes(changed)

    trio = Trio(alter=altered)
    trio.introduce()
    assert trio.parties[NODE].heard == [] and len(trio.parties[NODE].counted) == 1


def test_what_the_scheduler_repeats_is_refused() -> None:
    trio = Trio()
    trio.introduce()
    trio.beat(CLIENT, NODE)
    relayed = [(one, raw) for one, other, raw in trio.carried if other == NODE]
    for sender, raw in relayed:
        trio.feed(NODE, "gate", Arrived(raw=raw, node=IDS[sender]))
    assert trio.beats_heard(NODE, CLIENT) == 1
    assert {one.code for one in trio.parties[NODE].counted} == {Code.REPLAYED}


def test_a_frame_of_one_node_is_not_believed_as_another_s() -> None:
    """The scheduler says that what the other client sealed came from this one."""
    trio = Trio()
    trio.introduce()
    own = seal_beat(trio, OTHER_CLIENT)
    forged = pack_relayed(Relayed(way=FROM, node=IDS[CLIENT], sealed=sealing_info(IDS[CLIENT], IDS[NODE]) + own))
    trio.feed(NODE, "gate", Arrived(raw=forged, node=IDS[SCHEDULER]))
    assert trio.beats_heard(NODE, CLIENT) == 0
    assert trio.parties[NODE].counted[-1].code == Code.SENDER_WRONG


def seal_beat(trio: Trio, sender: int, receiver: int = NODE, message: Any = BEAT) -> bytes:
    """A heartbeat of `sender`, or another message, as its gate signs it."""
    gate = Gate(KEYS[sender], 2, {})
    says = trio.parties[receiver].says
    gate.step(
        PeerAdmitted(
            node=says.node,
            node_key=says.node_key,
            curve_key=says.statement.curve_key,
            seal_key=says.statement.seal_key,
            addresses=("10.0.0.1:1",),
            projects=(PROJECT.project_id,),
            name="",
        ),
        now(),
    )
    (effect,) = gate.step(Outgoing(send=Send(message=message, to=says.node)), now())
    assert isinstance(effect, Publish) and isinstance(effect.event, Transmit)
    return effect.event.raw


def test_a_node_passes_nothing_on_between_two_that_are_no_clients_of_it() -> None:
    trio = Trio()
    asked = pack_relayed(Relayed(way=TO, node=IDS[SCHEDULER], sealed=b"x"))
    trio.befriend(NODE, SCHEDULER)
    trio.feed(SCHEDULER, "gate", Arrived(raw=asked, node=IDS[NODE]))
    assert trio.parties[SCHEDULER].counted[-1].code == Code.STRANGER


def asks_to_pass_on(trio: Trio, sealed: bytes = b"x") -> None:
    asked = pack_relayed(Relayed(way=TO, node=IDS[NODE], sealed=sealed))
    trio.feed(SCHEDULER, "gate", Arrived(raw=asked, node=IDS[CLIENT]))


def test_nothing_is_passed_on_within_a_project_whose_token_was_taken_away() -> None:
    trio = Trio()
    scheduler = trio.parties[SCHEDULER]
    for projects in ((PROJECT,), (OTHER_PROJECT,)):
        scheduler.gate.step(ProjectsHeld(projects=projects, statement=scheduler.says.data), trio.at)
    asks_to_pass_on(trio)
    assert scheduler.counted[-1].code == Code.STRANGER and scheduler.gate.snapshot().passed_on == 0


def test_a_client_that_floods_leaves_its_scheduler_half_of_its_share_at_the_receiver() -> None:
    trio = Trio()
    scheduler = trio.parties[SCHEDULER]
    for _ in range(SENDER_FRAMES_BURST):
        asks_to_pass_on(trio)
    assert scheduler.gate.snapshot().passed_on == SENDER_FRAMES_BURST // 2
    assert scheduler.counted[-1].code == Code.BUSY


def test_several_clients_that_flood_one_node_have_that_half_together() -> None:
    trio = Trio()
    for client in (CLIENT, OTHER_CLIENT):
        asked = pack_relayed(Relayed(way=TO, node=IDS[NODE], sealed=b"x"))
        for _ in range(SENDER_FRAMES_BURST // 2):
            trio.feed(SCHEDULER, "gate", Arrived(raw=asked, node=IDS[client]))
    assert trio.parties[SCHEDULER].gate.snapshot().passed_on == SENDER_FRAMES_BURST // 2


def test_whoever_brings_seals_that_do_not_open_has_half_of_its_share_opened() -> None:
    trio = Trio()
    junk = pack_relayed(Relayed(way=FROM, node=b"?" * 32, sealed=b"x"))
    for _ in range(SENDER_FRAMES_BURST):
        trio.feed(NODE, "gate", Arrived(raw=junk, node=IDS[SCHEDULER]))
    codes = [one.code for one in trio.parties[NODE].counted]
    assert codes.count(Code.BUSY) == SENDER_FRAMES_BURST // 2


def test_a_client_passes_nothing_on() -> None:
    trio = Trio()
    asked = pack_relayed(Relayed(way=TO, node=IDS[SCHEDULER], sealed=b"x"))
    trio.feed(CLIENT, "gate", Arrived(raw=asked, node=IDS[SCHEDULER]))
    assert trio.parties[CLIENT].counted[-1].code == Code.STRANGER


@pytest.mark.parametrize("way", [TO, FROM])
def test_a_relayed_frame_of_a_stranger_is_refused(way: int) -> None:
    trio = Trio()
    raw = pack_relayed(Relayed(way=way, node=IDS[CLIENT], sealed=b"x" * 300))
    trio.feed(SCHEDULER, "gate", Arrived(raw=raw, node=b"?" * 32))
    assert trio.parties[SCHEDULER].counted[-1].code == Code.STRANGER


def test_a_relayed_frame_within_a_relayed_frame_is_refused() -> None:
    trio = Trio()
    inner = pack_relayed(Relayed(way=TO, node=IDS[SCHEDULER], sealed=b"x"))
    outer = pack_relayed(Relayed(way=FROM, node=IDS[CLIENT], sealed=sealing_info(IDS[CLIENT], IDS[NODE]) + inner))
    trio.feed(NODE, "gate", Arrived(raw=outer, node=IDS[SCHEDULER]))
    assert trio.parties[NODE].counted[-1].code == Code.STRANGER


def test_a_node_that_is_dialled_is_not_believed_through_another() -> None:
    trio = Trio()
    own = seal_beat(trio, SCHEDULER)
    relayed = pack_relayed(Relayed(way=FROM, node=IDS[SCHEDULER], sealed=sealing_info(IDS[SCHEDULER], IDS[NODE]) + own))
    trio.feed(NODE, "gate", Arrived(raw=relayed, node=IDS[SCHEDULER]))
    assert trio.beats_heard(NODE, SCHEDULER) == 0


def test_a_credential_of_one_without_the_token_makes_no_peer() -> None:
    """It names the right project, and proves another key."""
    trio = Trio()
    guessed = ProjectKey(b"?" * 32)
    guessed.project_id = PROJECT.project_id
    client = trio.parties[CLIENT]
    client.enrolment.step(ProjectsHeld(projects=(guessed,), statement=client.says.data), now())
    target = statement(KEYS[NODE], projects=(guessed,), seal_key=bytes([NODE + 1]) * 32)
    trio.feed(CLIENT, "enrolment", Encountered(certified=target, introduced=True))
    trio.knock()
    assert [type(one.message) for one in trio.parties[NODE].heard] == [Credential]
    assert trio.parties[NODE].counted[-1].code == Code.PROOF_WRONG
    trio.beat(CLIENT, NODE)
    assert trio.beats_heard(NODE, CLIENT) == 0


def test_a_node_that_does_not_dial_clients_never_knocks_at_one() -> None:
    trio = Trio()
    trio.feed(NODE, "enrolment", Encountered(certified=trio.parties[CLIENT].says, introduced=True))
    assert trio.parties[NODE].timers == {}


def test_a_credential_whose_answer_was_lost_is_answered_again() -> None:
    trio = Trio()
    trio.alter = lambda sealed: b""  # passes nothing sensible on
    trio.introduce()
    trio.alter = lambda sealed: sealed
    trio.knock()
    trio.beat(NODE, CLIENT)
    assert trio.beats_heard(CLIENT, NODE) == 1


def shown_by(number: int) -> tuple[Certified, Received]:
    """What a client of its own key shows to the node."""
    certified = statement(node_key(1_000 + number), addresses=())
    keys = (certified.statement.curve_key, certified.statement.seal_key)
    proof = PROJECT.member_proof(certified.node, *keys)
    credential = Credential(statement=certified.data, proof=proof, answer_wanted=True)
    return certified, received(credential, certified.node, project=PROJECT.project_id)


def admission_of(client: Certified) -> PeerAdmitted:
    return PeerAdmitted(
        node=client.node,
        node_key=client.node_key,
        curve_key=client.statement.curve_key,
        seal_key=client.statement.seal_key,
        addresses=(),
        projects=(PROJECT.project_id,),
        name="",
    )


def answered(machine: Enrolment, client: Certified) -> list[Any]:
    return messages(machine.step(admission_of(client), now()), Credential)


@pytest.mark.parametrize("allowed", [PeersAllowed(named=frozenset([shown_by(0)[0].node])), PeersAllowed()])
def test_clients_that_never_become_peers_do_not_keep_another_one_from_its_answer(allowed: PeersAllowed) -> None:
    """They wait for the operator, or membership has no room."""
    machine = Trio().parties[NODE].enrolment
    machine.step(allowed, now())
    for number in range(1, STRANGERS_MAX + 1):
        machine.step(shown_by(number)[1], now())
        machine.check()
    client, event = shown_by(0)
    machine.step(event, now())
    machine.check()
    assert len(answered(machine, client)) == 1


SECOND = 4


def via_of(gate: Gate, node: int, at: Now) -> bytes:
    """Whom the client asks to pass a heartbeat on."""
    (effect,) = gate.step(Outgoing(send=Send(message=Heartbeat(), to=IDS[node])), at)
    assert isinstance(effect, Publish) and isinstance(effect.event, Transmit)
    return effect.event.via


def with_two_schedulers() -> tuple[Trio, Gate]:
    """The client hears the node through the first one, and the second one by itself."""
    trio = Trio()
    trio.introduce()
    trio.beat(SCHEDULER, CLIENT)
    gate = trio.parties[CLIENT].gate
    trio.admit(CLIENT, statement(node_key(40 + SECOND)), ("10.0.0.2:1",))
    return trio, gate


def beat_of_second(gate: Gate, at: Now) -> None:
    """A heartbeat of the second scheduler, straight."""
    theirs = Gate(node_key(40 + SECOND), 1, {}, first_sequence=at.boot_ns)
    theirs.step(admission_of(statement(KEYS[CLIENT], addresses=())), at)
    (effect,) = theirs.step(Outgoing(send=Send(message=Heartbeat(), to=IDS[CLIENT])), at)
    assert isinstance(effect, Publish) and isinstance(effect.event, Transmit)
    second = node_id(node_key(40 + SECOND).public_key)
    (told,) = [one for one in gate.step(Arrived(raw=effect.event.raw, node=second), at) if isinstance(one, Publish)]
    assert isinstance(told.event, Received)


def test_a_client_takes_another_scheduler_once_the_one_that_passed_frames_on_is_silent() -> None:
    trio, gate = with_two_schedulers()
    soon, later = (Now(trio.at.boot_ns + ms * 1_000_000, trio.at.wall_ms + ms) for ms in (1_000, PEER_AWAY_MS + 1))
    beat_of_second(gate, soon)
    assert via_of(gate, NODE, soon) == IDS[SCHEDULER]  # both speak: frames go back the way that they came
    beat_of_second(gate, later)
    assert via_of(gate, NODE, later) == node_id(node_key(40 + SECOND).public_key)


def test_a_client_keeps_the_way_while_no_other_scheduler_speaks() -> None:
    trio, gate = with_two_schedulers()
    later = Now(trio.at.boot_ns + 10 * PEER_AWAY_MS * 1_000_000, trio.at.wall_ms + 10 * PEER_AWAY_MS)
    assert via_of(gate, NODE, later) == IDS[SCHEDULER]


def test_a_credential_shown_after_a_ban_is_not_accepted_a_second_time() -> None:
    trio = Trio()
    trio.introduce()
    trio.knock()
    client, node = trio.parties[CLIENT], trio.parties[NODE]
    for allowed in (PeersAllowed(banned=frozenset([client.id])), PeersAllowed()):
        for machine in ("gate", "enrolment"):
            trio.feed(NODE, machine, allowed)
    trio.feed(CLIENT, "enrolment", Encountered(certified=node.says, again=True))
    trio.knock()
    shown = [one for one in node.heard if isinstance(one.message, Credential)]
    assert len(shown) == 2
    for sender, raw in [(one, raw) for one, other, raw in trio.carried if other == NODE]:
        trio.feed(NODE, "gate", Arrived(raw=raw, node=IDS[sender]))
    assert [one for one in node.heard if isinstance(one.message, Credential)] == shown
    assert {one.code for one in node.counted} == {Code.REPLAYED}


# --- those who forgot each other ---------------------------------------------------------------------------------


def membership_with(says: Certified, *, client: bool) -> Membership:
    """It has proved itself to that node, at an address that its operator typed, and was greeted."""
    own = Party(CLIENT if client else SCHEDULER, (PROJECT,)).says
    machine = Membership(own.node, "own", {}, ("10.0.0.1:1456",), {}, client=client)
    machine.step(ProjectsHeld(projects=(PROJECT,), statement=own.data), now())
    machine.step(PeerProved(certified=says, project=PROJECT.project_id, heard_at="10.0.0.1:1456"), now())
    greeting = Greeting(statement=says.data, name="n", projects=(PROJECT.project_id,), sources=(), answer_wanted=False)
    machine.step(received(greeting, says.node), now())
    return machine


@pytest.mark.parametrize("client", [True, False])
def test_a_client_proves_itself_anew_to_who_is_away_since_nobody_knocks_at_it(client: bool) -> None:
    node = Party(NODE, (PROJECT,)).says
    machine = membership_with(node, client=client)
    effects = [
        effect
        for number in range(1, 20)
        for effect in machine.step(TimerFired(name="beat"), now(number * HEARTBEAT_INTERVAL_MS))
    ]
    again = [one for one in news(tuple(effects), Encountered) if one.again]
    assert {(one.certified.node, one.heard_at) for one in again} == (
        {(node.node, "10.0.0.1:1456")} if client else set()
    )


@pytest.mark.parametrize(
    ("client", "held", "named", "proves_again"),
    [
        (True, (PROJECT, OTHER_PROJECT), (PROJECT,), True),
        (True, (PROJECT, OTHER_PROJECT), (PROJECT, OTHER_PROJECT), False),
        (True, (PROJECT,), (PROJECT,), False),
        (False, (PROJECT, OTHER_PROJECT), (PROJECT,), False),
    ],
    ids=["one forgotten", "none forgotten", "its token was taken away", "no client"],
)
def test_a_client_proves_itself_anew_to_who_has_forgotten_one_of_its_projects(
    client: bool, held: tuple[ProjectKey, ...], named: tuple[ProjectKey, ...], proves_again: bool
) -> None:
    both = (PROJECT, OTHER_PROJECT)
    own, says = Party(CLIENT if client else SCHEDULER, both).says, Party(NODE, held).says
    machine = Membership(own.node, "own", {}, (), {}, client=client)
    machine.step(ProjectsHeld(projects=both, statement=own.data), now())
    for project in both:
        machine.step(PeerProved(certified=says, project=project.project_id, heard_at=""), now())
    ids = tuple(project.project_id for project in named)
    greeting = Greeting(statement=says.data, name="n", projects=ids, sources=(), answer_wanted=False)
    effects = machine.step(received(greeting, says.node), now())
    assert [one.certified.node for one in news(effects, Encountered) if one.again] == [says.node] * proves_again


def test_what_was_proved_is_proved_again_to_a_node_that_may_have_forgotten_it() -> None:
    trio = Trio()
    trio.introduce()
    trio.knock()  # it finds that all is proved, and is the last
    client, node = trio.parties[CLIENT], trio.parties[NODE]
    shown = len([one for one in node.heard if isinstance(one.message, Credential)])
    trio.feed(CLIENT, "enrolment", Encountered(certified=node.says))
    assert not [name for name in client.timers if name.startswith("knock:")]
    trio.feed(CLIENT, "enrolment", Encountered(certified=node.says, again=True))
    trio.knock()
    assert len([one for one in node.heard if isinstance(one.message, Credential)]) == shown + 1


def test_the_address_of_a_node_that_was_banned_for_a_while_is_joined_again() -> None:
    node = Party(NODE, (PROJECT,)).says
    machine = membership_with(node, client=True)
    assert [one.state for one in machine.snapshot().joins] == ["joined"]
    machine.step(PeersAllowed(banned=frozenset([node.node])), now())
    assert [one.state for one in machine.snapshot().joins] == ["asking"]
    effects = machine.step(PeersAllowed(), now())
    assert news(effects, StatementWanted) == [StatementWanted(address="10.0.0.1:1456")]


def test_a_credential_is_believed_once_also_when_the_client_shows_its_own_again() -> None:
    """The node answered before: its answer is not believed again because a session was opened anew."""
    trio = Trio()
    newcomer = Introduce(
        session=RELAY_SESSION + IDS[NODE],
        node_key=trio.parties[NODE].says.node_key,
        seal_key=trio.parties[NODE].says.statement.seal_key,
        project=PROJECT.project_id,
    )
    credential = Credential(statement=b"", proof=b"", answer_wanted=False)
    trio.publish(CLIENT, newcomer)
    raw = seal_beat(trio, NODE, CLIENT, credential)
    for _ in range(2):
        trio.feed(CLIENT, "gate", Arrived(raw=raw, node=IDS[NODE], via=IDS[SCHEDULER]))
        trio.publish(CLIENT, newcomer)
    assert [one.code for one in trio.parties[CLIENT].counted if one.code == Code.REPLAYED] == [Code.REPLAYED]
