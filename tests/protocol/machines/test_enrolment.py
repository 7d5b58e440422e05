"""Two doors joined by a fake link: real gates, real frames, and nothing in between but what a test does to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from protocol.errors import Code, RemoteProtocolError
from protocol.ids import node_id
from protocol.key_statement import Certified
from protocol.limits import (
    ADDRESSES_INTRODUCED_MAX,
    DOOR_SESSIONS_MAX,
    ENROL_PATIENCE_MS,
    ENROL_RETRY_MS_MAX,
    HANDSHAKE_LIMIT_MS,
    KNOCKING_INTRODUCED_MAX,
    KNOCKS_INTRODUCED_MAX,
    STRANGERS_MAX,
    SUBMITTER_IDLE_MS,
)
from protocol.machines.contract import Now, Persist, Publish, Received, Refuse, Send, SetTimer, TimerFired
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import (
    Arrived,
    DialDoor,
    Encountered,
    EnrolmentFailed,
    HangUp,
    Outgoing,
    PeerAdmitted,
    PeerProved,
    PeersAllowed,
    ProjectsHeld,
    SubmitterProved,
    Transmit,
)
from protocol.machines.gate import Gate
from protocol.machines.joiner import Joiner
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.door import Challenge, Hello, Proof, Welcome
from protocol.wiring import takers
from tests.protocol.builders import (
    OTHER_PROJECT,
    PROJECT,
    SUBMITTER,
    WALL_MS,
    news,
    node_key,
    now,
    received,
    refusals,
    sends,
    statement,
)

LOW, HIGH = sorted((node_key(1), node_key(2)), key=lambda key: node_id(key.public_key))
Alter = Callable[[Any], Any]


class Side:
    """Enrolment and gate of one node, and what they told the rest of it."""

    def __init__(self, key: SigningKey, projects: tuple[ProjectKey, ...] = (PROJECT,), *, opening_ms: int = 0) -> None:
        self.key, self.id = key, node_id(key.public_key)
        self.says: Certified = statement(key, projects=projects)
        self.gate = Gate(key, 1, {})
        says = self.says.statement
        secret = b"secret" + key.public_key
        self.enrolment = Enrolment(self.id, 1, secret, says.curve_key, says.seal_key, opening_ms=opening_ms)
        self.enrolment.step(ProjectsHeld(projects=projects, statement=self.says.data), now())
        self.told: list[Any] = []
        self.timers: dict[str, int] = {}

    def all(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.told if isinstance(one, kind)]

    def proved(self) -> list[tuple[bytes, bytes]]:
        return [(one.certified.node, one.project) for one in self.all(PeerProved)]


class Link:
    """Carries frames between a dialling and an answering side; a session has one name at each."""

    def __init__(self, one: Side, other: Side, alter: Alter = lambda message: message) -> None:
        self.sides = (one, other)
        self.alter = alter
        self.at: Now = now()
        self.messages: list[Any] = []
        self.doors: dict[bytes, tuple[int, bytes]] = {}  # session → side that dialled, project

    def feed(self, number: int, target: str, event: Any) -> None:
        side = self.sides[number]
        machine: Any = side.gate if target == "gate" else side.enrolment
        effects = machine.step(event, self.at)
        machine.check()
        for effect in effects:
            match effect:
                case Send():
                    changed = self.alter(effect.message)
                    if changed is not None:
                        self.messages.append(changed)
                        self.feed(number, "gate", Outgoing(send=msgspec.structs.replace(effect, message=changed)))
                case Refuse():
                    side.told.append(effect)
                    self.feed(number, "gate", effect)
                case SetTimer(name=name, at_ns=at_ns):
                    side.timers[name] = at_ns
                case Publish(event=Transmit(raw=raw, session=session)):
                    self.carry(number, session, raw)
                case Publish(event=published):
                    self.publish(number, published)
                case Persist():
                    raise AssertionError("enrolment and door sessions write nothing")

    def publish(self, number: int, event: Any) -> None:
        self.sides[number].told.append(event)
        if isinstance(event, DialDoor):
            self.doors[event.session] = (number, event.project)
        for taker in takers(event):
            if taker in ("gate", "enrolment"):
                self.feed(number, taker, event)
        if isinstance(event, PeerProved):  # what membership does after its commit
            certified = event.certified
            admitted = PeerAdmitted(
                node=certified.node,
                node_key=certified.node_key,
                curve_key=certified.statement.curve_key,
                seal_key=certified.statement.seal_key,
                addresses=(),
                projects=(event.project,),
                name="",
            )
            self.publish(number, admitted)

    def carry(self, number: int, session: bytes, raw: bytes) -> None:
        dialler, project = self.doors[session]
        if number == dialler:
            self.feed(1 - number, "gate", Arrived(raw=raw, session=session, project=project))
        else:
            self.feed(dialler, "gate", Arrived(raw=raw, session=session, dialled=True))

    def meet(self, number: int, *, typed: bool = False, as_: Certified | None = None) -> None:
        """One side sees the other and its patience passes."""
        other = self.sides[1 - number]
        seen = Encountered(certified=as_ or other.says, heard_at="10.0.0.9:1456", typed=typed)
        self.feed(number, "enrolment", seen)

    def fire(self, number: int, kind: str) -> None:
        side = self.sides[number]
        for name in [name for name in side.timers if name.startswith(kind)]:
            at_ns = side.timers.pop(name)
            self.at = Now(at_ns, WALL_MS + (at_ns - now().boot_ns) // 1_000_000)
            self.feed(number, "enrolment", TimerFired(name=name))


def joined(alter: Alter = lambda message: message, theirs: tuple[ProjectKey, ...] = (PROJECT,)) -> Link:
    link = Link(Side(LOW), Side(HIGH, theirs), alter)
    link.meet(0, as_=statement(HIGH, projects=(PROJECT, *theirs)))
    link.fire(0, "knock:")
    return link


def test_two_nodes_with_one_token_prove_it_to_each_other() -> None:
    link = joined()
    low, high = link.sides
    assert low.proved() == [(high.id, PROJECT.project_id)]
    assert high.proved() == [(low.id, PROJECT.project_id)]
    assert [type(one) for one in link.messages] == [Hello, Challenge, Proof, Welcome]
    assert low.enrolment.snapshot().sessions == high.enrolment.snapshot().sessions == 0
    assert not low.all(Refuse) and not high.all(Refuse)


def test_neither_token_nor_key_travels() -> None:
    link = joined()
    frames = b"".join(one.raw for side in link.sides for one in side.all(Transmit)) + repr(link.messages).encode()
    assert b"p" * 32 not in frames and PROJECT.door_secret not in frames


def test_a_peer_is_not_knocked_at_again() -> None:
    link = joined()
    link.fire(0, "knock:")
    assert link.sides[0].enrolment.snapshot().knocking == ()
    link.meet(0)
    assert len(link.sides[0].all(DialDoor)) == 1


def test_a_peer_that_membership_does_not_name_after_its_restart_is_knocked_at_again() -> None:
    link = joined()
    low = link.sides[0]
    link.fire(0, "knock:")
    low.enrolment.step(ProjectsHeld(projects=(PROJECT,), statement=low.says.data), now())  # no PeerAdmitted follows
    link.meet(0)
    link.fire(0, "knock:")
    assert len(low.all(DialDoor)) == 2


def test_two_common_projects_are_two_handshakes() -> None:
    link = Link(Side(LOW, (PROJECT, OTHER_PROJECT)), Side(HIGH, (PROJECT, OTHER_PROJECT)))
    link.meet(0)
    link.fire(0, "knock:")
    assert {project for _, project in link.sides[1].proved()} == {PROJECT.project_id, OTHER_PROJECT.project_id}


# --- what does not get in ------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def altered(kind: type[Any], **changes: Callable[[Any], Any]) -> Alter:
    def alter(message: Any) -> Any:
        if not isinstance(message, kind):
            return message
        values = {name: change(getattr(message, name)) for name, change in changes.items()}
        return msgspec.structs.replace(message, **values)

    return alter


def keeping(kind: type[Any], taken: list[Any]) -> Alter:
    """Changes nothing and keeps what passes."""

    def alter(message: Any) -> Any:
        if isinstance(message, kind):
            taken.append(message)
        return message

    return alter


def test_a_standalone_node_neither_knocks_nor_lets_a_node_in_and_says_why() -> None:
    link = Link(Side(LOW), Side(HIGH))
    link.feed(1, "enrolment", PeersAllowed(alone=True))
    link.meet(1)
    assert link.sides[1].enrolment.snapshot().knocking == ()
    link.meet(0, typed=True)
    link.fire(0, "knock:")
    low, high = link.sides
    (refused,) = high.all(Refuse)
    assert refused.code == Code.NODE_ALONE and "nobody can join it" in refused.sentence
    assert low.proved() == high.proved() == [] and [type(one) for one in link.messages] == [Hello]
    assert high.enrolment.snapshot().sessions == 0


OTHERS = statement(node_key(9))
FAULTS: dict[str, tuple[Alter, str]] = {
    "hello: curve key": (altered(Hello, curve_key=flipped), Code.SENDER_WRONG),
    "hello: another node's statement": (altered(Hello, statement=lambda _: OTHERS.data), Code.SENDER_WRONG),
    "hello: statement altered": (altered(Hello, statement=lambda data: data[:-1] + b"?"), Code.SIGNATURE_WRONG),
    "hello: nonce too short": (altered(Hello, nonce=lambda _: b"n"), Code.BODY_MALFORMED),
    "hello: no common version": (altered(Hello, versions=lambda _: (99,)), Code.BODY_MALFORMED),
    "hello: nonce": (altered(Hello, nonce=flipped), Code.PROOF_WRONG),
    "challenge: proof": (altered(Challenge, proof=flipped), Code.PROOF_WRONG),
    "challenge: nonce": (altered(Challenge, nonce=flipped), Code.PROOF_WRONG),
    "challenge: nonce too short": (altered(Challenge, nonce=lambda _: b"n"), Code.BODY_MALFORMED),
    "challenge: version": (altered(Challenge, version=lambda _: 2), Code.BODY_MALFORMED),
    "challenge: another node's statement": (
        altered(Challenge, statement=lambda _: OTHERS.data),
        Code.STATEMENT_MALFORMED,
    ),
    "proof": (altered(Proof, proof=flipped), Code.PROOF_WRONG),
    "proof: empty": (altered(Proof, proof=lambda _: b""), Code.PROOF_WRONG),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_handshake_with_one_fault_makes_no_peer_on_either_side(fault: str) -> None:
    alter, code = FAULTS[fault]
    link = joined(alter)
    low, high = link.sides
    assert low.proved() == high.proved() == []
    assert code in [one.code for side in link.sides for one in side.all(Refuse)]


def test_a_statement_that_certifies_another_curve_key_than_the_dialled_one_is_refused() -> None:
    link = Link(Side(LOW), Side(HIGH))
    link.meet(0, as_=statement(HIGH, curve=b"z" * 32))
    link.fire(0, "knock:")
    assert [one.code for one in link.sides[0].all(Refuse)] == [Code.STATEMENT_MALFORMED]
    assert link.sides[0].proved() == link.sides[1].proved() == []


def test_a_responder_with_another_token_cannot_answer() -> None:
    link = joined(theirs=(OTHER_PROJECT,))
    assert link.sides[1].all(Refuse) and not link.sides[0].proved()


def test_a_proof_for_one_handshake_is_worth_nothing_in_another() -> None:
    taken: list[Proof] = []
    joined(keeping(Proof, taken))
    link = joined(lambda message: taken[0] if isinstance(message, Proof) else message)
    assert link.messages.count(taken[0]) == 1
    again = Link(Side(LOW), Side(HIGH), lambda message: taken[0] if isinstance(message, Proof) else message)
    again.sides[0].enrolment._nonce()  # one nonce later
    again.meet(0)
    again.fire(0, "knock:")
    assert again.sides[1].proved() == []
    assert [one.code for one in again.sides[1].all(Refuse)] == [Code.PROOF_WRONG]


def test_a_challenge_cannot_be_replayed() -> None:
    taken: list[Challenge] = []
    joined(keeping(Challenge, taken))
    again = Link(Side(LOW), Side(HIGH), lambda message: taken[0] if isinstance(message, Challenge) else message)
    again.sides[0].enrolment._nonce()
    again.meet(0)
    again.fire(0, "knock:")
    assert again.sides[0].proved() == []


def test_a_node_cannot_prove_itself_with_its_own_challenge_reflected() -> None:
    """Roles stand in the proof: what the responder says is no joiner's proof."""
    heard: list[Challenge] = []

    def reflect(message: Any) -> Any:
        if isinstance(message, Challenge):
            heard.append(message)
        return Proof(proof=heard[0].proof) if isinstance(message, Proof) else message

    assert joined(reflect).sides[1].proved() == []


def test_nonces_never_repeat_over_handshakes_and_boots() -> None:
    nonces = []
    for boot in (1, 2):
        machine = Enrolment(b"i" * 32, boot, b"secret", b"c" * 32, b"s" * 32)
        nonces += [machine._nonce() for _ in range(50)]
    assert len(set(nonces)) == 100


# --- when ----------------------------------------------------------------------------------------------------------


def timer_of(side: Side, kind: str) -> int:
    (at_ns,) = (at for name, at in side.timers.items() if name.startswith(kind))
    return (at_ns - now().boot_ns) // 1_000_000


def test_the_lower_id_dials_at_once_and_the_higher_one_waits() -> None:
    link = Link(Side(LOW), Side(HIGH))
    link.meet(0)
    link.meet(1)
    assert timer_of(link.sides[0], "knock:") == 0
    assert timer_of(link.sides[1], "knock:") == ENROL_PATIENCE_MS
    link.fire(0, "knock:")
    link.fire(1, "knock:")
    assert len(link.sides[0].all(DialDoor)) == 1 and not link.sides[1].all(DialDoor)


def test_a_typed_address_is_dialled_at_once_by_either() -> None:
    link = Link(Side(LOW), Side(HIGH))
    link.meet(1, typed=True)
    assert timer_of(link.sides[1], "knock:") == 0


def test_a_door_that_does_not_answer_ends_in_a_sentence_and_is_tried_again_ever_later() -> None:
    link = Link(Side(LOW), Side(HIGH), lambda message: None if isinstance(message, Challenge) else message)
    link.meet(0)
    pauses = []
    for _ in range(10):
        before = link.at.boot_ns
        link.fire(0, "knock:")
        pauses.append((link.at.boot_ns - before) // 1_000_000)
        link.fire(0, "session:")
        assert link.sides[0].enrolment.snapshot().sessions == 0
        link.fire(1, "session:")
        assert link.sides[1].enrolment.snapshot().sessions == 0
    assert len(link.sides[0].all(EnrolmentFailed)) == 10 == len(link.sides[0].all(HangUp))
    assert f"{HANDSHAKE_LIMIT_MS} ms" in link.sides[0].all(EnrolmentFailed)[0].sentence
    link.fire(0, "knock:")
    assert sorted(pauses[1:]) == pauses[1:] and pauses[-1] <= ENROL_RETRY_MS_MAX + HANDSHAKE_LIMIT_MS


def test_a_node_that_was_only_introduced_is_given_up_after_some_tries() -> None:
    link = Link(Side(LOW), Side(HIGH), lambda message: None if isinstance(message, Challenge) else message)
    link.feed(0, "enrolment", Encountered(certified=link.sides[1].says, introduced=True))
    for _ in range(KNOCKS_INTRODUCED_MAX):
        link.fire(0, "knock:")
        link.fire(0, "session:")
    link.fire(0, "knock:")
    assert link.sides[0].enrolment.snapshot().knocking == ()
    assert len(link.sides[0].all(EnrolmentFailed)) == KNOCKS_INTRODUCED_MAX


def test_every_handshake_that_this_node_began_and_that_fails_is_told_so_that_it_can_look_for_others() -> None:
    def other_version(message: Any) -> Any:
        return msgspec.structs.replace(message, version=9) if isinstance(message, Challenge) else message

    link = Link(Side(LOW), Side(HIGH), other_version)
    link.meet(0)
    link.fire(0, "knock:")
    (failed,) = link.sides[0].all(EnrolmentFailed)
    assert failed.node == link.sides[1].id and "unknown version" in failed.sentence


def test_a_node_that_cannot_be_knocked_at_for_lack_of_room_is_told() -> None:
    side = Side(LOW)
    for number in range(STRANGERS_MAX + 1):
        effects = side.enrolment.step(Encountered(certified=statement(node_key(1_000 + number))), now())
        failed = news(effects, EnrolmentFailed)
        assert len(failed) == (number == STRANGERS_MAX)


def test_introduced_nodes_have_a_share_of_the_knocks_and_two_addresses_each() -> None:
    side = Side(LOW)
    addresses = tuple(f"10.0.0.{number}:22" for number in range(1, 9))
    refused = 0
    for number in range(KNOCKING_INTRODUCED_MAX + 5):
        said = statement(node_key(1_000 + number), addresses=addresses)
        effects = side.enrolment.step(Encountered(certified=said, introduced=True), now())
        refused += len(news(effects, EnrolmentFailed))
    assert refused == 5
    effects = side.enrolment.step(TimerFired(name=f"knock:{said_first().node.hex()}"), now())
    assert {one.addresses for one in news(effects, DialDoor)} == {addresses[:ADDRESSES_INTRODUCED_MAX]}
    assert not news(
        side.enrolment.step(Encountered(certified=statement(node_key(9)), typed=True), now()), EnrolmentFailed
    )


def said_first() -> Certified:
    return statement(node_key(1_000))


def test_a_half_open_door_is_closed_after_its_limit() -> None:
    link = Link(Side(LOW), Side(HIGH), lambda message: None if isinstance(message, Proof) else message)
    link.meet(0)
    link.fire(0, "knock:")
    assert timer_of(link.sides[1], "session:") == HANDSHAKE_LIMIT_MS
    link.fire(1, "session:")
    assert link.sides[1].enrolment.snapshot().sessions == 0 and link.sides[1].all(HangUp)


def test_who_dials_by_a_long_way_waits_longer_for_a_door_and_whose_door_it_is_does_not() -> None:
    link = Link(
        Side(LOW, opening_ms=3_500), Side(HIGH), lambda message: None if isinstance(message, Proof) else message
    )
    link.meet(0)
    link.fire(0, "knock:")
    assert timer_of(link.sides[0], "session:") == HANDSHAKE_LIMIT_MS + 3_500
    assert timer_of(link.sides[0], "knock:") > HANDSHAKE_LIMIT_MS + 3_500  # no second one beside it
    assert timer_of(link.sides[1], "session:") == HANDSHAKE_LIMIT_MS
    link.fire(0, "session:")
    assert "within 5500 ms" in link.sides[0].all(EnrolmentFailed)[0].sentence


def test_a_node_without_a_hint_in_common_is_never_dialled() -> None:
    link = Link(Side(LOW), Side(HIGH, (OTHER_PROJECT,)))
    link.meet(0)
    assert link.sides[0].timers == {} and link.sides[0].told == []


def test_a_typed_address_without_a_common_token_fails_by_name() -> None:
    link = Link(Side(LOW), Side(HIGH, (OTHER_PROJECT,)))
    link.meet(0, typed=True)
    (failed,) = link.sides[0].all(EnrolmentFailed)
    assert failed.address == "10.0.0.9:1456" and "no project token in common" in failed.sentence
    assert not link.sides[0].all(DialDoor)


def test_a_node_that_meets_itself_does_nothing() -> None:
    side = Side(LOW)
    assert side.enrolment.step(Encountered(certified=side.says, typed=True), now()) == ()


def test_half_done_handshakes_are_bounded() -> None:
    side = Side(HIGH)
    hello = Hello(role="submitter", statement=b"", curve_key=b"c" * 32, nonce=b"n" * 16, versions=(1,))
    sender = node_id(SUBMITTER.public_key)
    for number in range(DOOR_SESSIONS_MAX + 1):
        event = received(hello, sender, session=number.to_bytes(4), project=PROJECT.project_id)
        effects = side.enrolment.step(event, now())
    assert refusals(effects) == [Code.EVENT_UNEXPECTED]
    side.enrolment.check()


# --- submitters ----------------------------------------------------------------------------------------------------


def knock_as_submitter(side: Side, project: ProjectKey = PROJECT) -> tuple[list[Any], list[Any]]:
    """(what came back over the session, what the node told itself) of a submission tool at the door."""
    own_id = node_id(SUBMITTER.public_key)
    joiner = Joiner(
        role="submitter",
        own_id=own_id,
        statement=b"",
        curve_key=b"d" * 32,
        nonce=b"n" * 16,
        target=side.says,
        project=project,
    )

    def say(message: Any) -> tuple[Any, ...]:
        event = Received(message=message, sender=own_id, message_id=b"m" * 16, session=b"s", project=PROJECT.project_id)
        return side.enrolment.step(event, now())

    effects = say(joiner.hello)
    (challenge,) = sends(effects, Challenge)
    effects = say(joiner.answer(challenge.message, now()))
    return [one.message for one in sends(effects)], list(effects)


def test_a_submitter_proves_the_token_and_may_then_ask_and_nothing_else() -> None:
    side = Side(HIGH)
    answers, effects = knock_as_submitter(side)
    assert answers == [Welcome()]
    proved = SubmitterProved(session=b"s", project=PROJECT.project_id)
    assert news(tuple(effects), SubmitterProved) == [proved] and not news(tuple(effects), PeerProved)
    (idle,) = [one for one in effects if isinstance(one, SetTimer)]
    assert idle.at_ns == now(SUBMITTER_IDLE_MS).boot_ns
    assert news(side.enrolment.step(TimerFired(name=idle.name), now())) == [HangUp(session=b"s")]


def test_the_gate_opens_a_submitters_session_before_it_is_welcomed() -> None:
    _, effects = knock_as_submitter(Side(HIGH))
    order = [type(one.event) if isinstance(one, Publish) else type(one) for one in effects]
    assert order.index(SubmitterProved) < order.index(Send)


def test_a_submitter_whom_the_door_does_not_convince_sends_no_proof() -> None:

    with pytest.raises(RemoteProtocolError, match="did not prove to know") as refused:
        knock_as_submitter(Side(HIGH), ProjectKey(b"w" * 32))
    assert refused.value.code == Code.PROOF_WRONG
