"""The door of an invitation: real gates, real frames, and whoever comes with the wrong thing goes without the token."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import Code, RemoteProtocolError
from protocol.ids import node_id
from protocol.invitation import Invitation, parse_invitation
from protocol.limits import DOOR_SESSIONS_PER_INVITATION_MAX, HANDSHAKE_LIMIT_MS, INVITATION_LIFE_MS
from protocol.machines.admission import Admission
from protocol.machines.contract import Now, Publish, Refuse, Send, SetTimer, TimerFired
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import (
    Arrived,
    ControlAnswer,
    DialDoor,
    DoorsOpened,
    HangUp,
    Outgoing,
    PeersAllowed,
    ProjectsHeld,
    SubmitterProved,
    Transmit,
)
from protocol.machines.gate import Gate
from protocol.machines.joiner import Joiner
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.control import BanPeer, Invite, Invited
from protocol.wire.door import Challenge, Granted, Hello, Proof, Welcome
from protocol.wire.peers import Refused
from protocol.wiring import takers
from tests.protocol.builders import node_key, now, received, statement

TOKEN = "9d41c7f0a2b85e3617dd094c5b8e12fa6073bd2e"
HEART = ProjectKey.derive(TOKEN)
INVITER, GUEST, OTHER = node_key(1), node_key(2), node_key(3)


class Inviter:
    """Gate, enrolment and admission of one node, and its answers to a session."""

    def __init__(self, key: SigningKey = INVITER) -> None:
        self.key, self.id = key, node_id(key.public_key)
        self.says = statement(key, projects=(HEART,))
        self.at: Now = now()
        self.raw: list[bytes] = []  # what goes back to the session
        self.told: list[Any] = []
        self.timers: list[str] = []
        says = self.says.statement
        self.machines: dict[str, Any] = {
            "gate": Gate(key, 1, {}),
            "enrolment": Enrolment(self.id, 1, b"secret" + key.public_key, says.curve_key, says.seal_key),
            "admission": Admission(self.id, b"r" * 32 + key.public_key, None, {}),
        }
        self._carry_out(self.machines["admission"].begin(self.at))
        self.publish(ProjectsHeld(projects=(HEART,), statement=self.says.data))

    def publish(self, event: Any) -> None:
        self.told.append(event)
        for taker in takers(event):
            if taker in self.machines:
                self.feed(taker, event)

    def feed(self, taker: str, event: Any) -> None:
        machine = self.machines[taker]
        self._carry_out(machine.step(event, self.at))
        machine.check()

    def _carry_out(self, effects: Any) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.feed("gate", Outgoing(send=effect))
                case Refuse():
                    self.told.append(effect)
                    self.feed("gate", effect)
                case SetTimer(name=name):
                    self.timers.append(name)
                case Publish(event=Transmit(raw=raw)):
                    self.raw.append(raw)
                case Publish(event=event):
                    self.publish(event)

    def ask(self, message: Any) -> Any:
        self.feed("admission", received(message, b"operator", session=b"control:1"))
        answers = [one.message for one in self.told if isinstance(one, ControlAnswer)]
        return answers[-1]

    def invite(self) -> Invitation:
        ask = Invite(project=HEART.project_id, name="heart", valid_ms=INVITATION_LIFE_MS, nonce=b"n" * 16)
        made = self.ask(ask)
        assert isinstance(made, Invited)
        return parse_invitation(made.text)

    def refused(self) -> list[Code]:
        return [one.code for one in self.told if isinstance(one, Refuse)]


class Guest:
    """Whoever comes with an invitation, as the command line does it."""

    def __init__(self, invitation: Invitation, key: SigningKey = GUEST, session: bytes = b"in:guest") -> None:
        self.session = session
        self.door = invitation.key
        self.joiner = Joiner(
            role="invited",
            own_id=node_id(key.public_key),
            statement=b"",
            curve_key=self.door.door_public,
            nonce=b"j" * 16,
            target=invitation.inviter,
            project=self.door,
        )
        self.gate = Gate(key, 1, {})
        dial = DialDoor(
            session=b"dial",
            node=invitation.inviter.node,
            node_key=invitation.node_key,
            server_curve=invitation.curve_key,
            addresses=(),
            project=self.door.project_id,
            submitting=True,
        )
        self.gate.step(dial, now())

    def send(self, message: Any, to: Inviter) -> list[Any]:
        """One message, and all answers that this gate lets through. Who lacks the door key is not heard, as by ZAP."""
        known = {door.project_id for door in to.machines["enrolment"]._doors.values()}
        if self.door.project_id not in known:
            return []
        to.raw.clear()
        send = Send(message=message, session=b"dial", project=self.door.project_id)
        for effect in self.gate.step(Outgoing(send=send), to.at):
            assert isinstance(effect, Publish)
            arrived = Arrived(raw=effect.event.raw, session=self.session, project=self.door.project_id)
            to.feed("gate", arrived)
        answers = []
        for raw in to.raw:
            for effect in self.gate.step(Arrived(raw=raw, session=b"dial", dialled=True), to.at):
                if isinstance(effect, Publish) and hasattr(effect.event, "message"):
                    answers.append(effect.event.message)
        return answers

    def knock(self, to: Inviter) -> Any:
        """The whole handshake: what comes in answer to the proof."""
        challenge, *_ = self.send(self.joiner.hello, to) or [None]
        if not isinstance(challenge, Challenge):
            return challenge
        answer, *_ = self.send(self.joiner.answer(challenge, to.at), to) or [None]
        return answer


def code_of(answer: Any) -> str:
    assert isinstance(answer, Refused), answer
    return answer.code


def test_who_has_the_invitation_gets_the_token_and_is_no_peer_by_it() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    granted = guest.knock(inviter)
    assert isinstance(granted, Granted) and (granted.token, granted.name) == (TOKEN, "heart")
    assert guest.joiner.target.data == inviter.says.data  # what the guest keeps to join by
    assert inviter.machines["gate"].snapshot().peers == 0 and inviter.refused() == []


def test_one_invitation_takes_few_sessions_at_the_door_until_their_time_is_over() -> None:
    inviter = Inviter()
    invitation = inviter.invite()
    crowd = [Guest(invitation, session=b"in:%d" % number) for number in range(DOOR_SESSIONS_PER_INVITATION_MAX + 1)]
    answers = [guest.send(guest.joiner.hello, inviter) for guest in crowd]
    assert [len(one) for one in answers] == [1] * DOOR_SESSIONS_PER_INVITATION_MAX + [0]
    inviter.feed("enrolment", TimerFired(name=next(name for name in inviter.timers if name.startswith("session:"))))
    assert isinstance(Guest(invitation, session=b"in:late").knock(inviter), Granted)


def test_the_token_is_in_no_repr_of_what_is_told_within_the_node() -> None:
    inviter = Inviter()
    granted = Guest(inviter.invite()).knock(inviter)
    assert TOKEN not in repr(inviter.told) + repr(granted)


def test_the_session_is_closed_after_the_grant() -> None:
    inviter = Inviter()
    Guest(inviter.invite()).knock(inviter)
    assert inviter.machines["enrolment"].snapshot().sessions == 0
    assert any(name.startswith("idle:") for name in inviter.timers)


def test_a_second_node_is_refused_and_the_first_one_may_ask_again() -> None:
    inviter = Inviter()
    invitation = inviter.invite()
    assert isinstance(Guest(invitation).knock(inviter), Granted)
    assert code_of(Guest(invitation, OTHER, b"in:other").knock(inviter)) == Code.INVITATION_USED
    assert isinstance(Guest(invitation, session=b"in:again").knock(inviter), Granted)


def test_recorded_frames_of_a_guest_give_nobody_the_token_again() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    recorded: list[Arrived] = []
    feed = inviter.feed

    def record(taker: str, event: Any) -> None:
        if isinstance(event, Arrived):
            recorded.append(event)
        feed(taker, event)

    inviter.feed = record  # type: ignore[method-assign]
    assert isinstance(guest.knock(inviter), Granted)
    inviter.raw.clear()
    for frame in list(recorded):
        feed("gate", frame)
        feed("gate", Arrived(raw=frame.raw, session=b"in:thief", project=frame.project))
    answers = [
        type(effect.event.message).__name__
        for raw in inviter.raw
        for effect in Guest(inviter.invite()).gate.step(Arrived(raw=raw, session=b"dial", dialled=True), inviter.at)
        if isinstance(effect, Publish) and hasattr(effect.event, "message")
    ]
    assert "Granted" not in answers


def test_another_node_that_answers_at_the_address_is_not_believed() -> None:
    inviter, thief = Inviter(), Inviter(OTHER)
    invitation = inviter.invite()
    thief.invite()
    guest = Guest(invitation)
    challenge = Challenge(statement=thief.says.data, nonce=b"n" * 16, proof=b"p" * 32, version=1)
    with pytest.raises(RemoteProtocolError):
        guest.joiner.answer(challenge, now())
    assert guest.knock(thief) is None  # and its own door does not open for it


def test_the_inviter_s_statement_without_the_secret_is_not_believed() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    challenge = Challenge(statement=inviter.says.data, nonce=b"n" * 16, proof=b"p" * 32, version=1)
    with pytest.raises(RemoteProtocolError) as refused:
        guest.joiner.answer(challenge, now())
    assert refused.value.code is Code.PROOF_WRONG


def test_who_knows_the_door_but_not_the_secret_gets_nothing() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    (challenge,) = guest.send(guest.joiner.hello, inviter)
    assert isinstance(challenge, Challenge)
    assert code_of(guest.send(Proof(proof=b"x" * 32), inviter)[0]) == Code.PROOF_WRONG
    assert inviter.machines["enrolment"].snapshot().sessions == 0


@pytest.mark.parametrize("role", ["node", "submitter"])
def test_an_invitation_makes_nobody_a_peer_or_a_submitter(role: Any) -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    hello = guest.joiner.hello
    own = statement(GUEST, projects=(), curve=guest.door.door_public)
    told = Hello(role=role, statement=own.data, curve_key=hello.curve_key, nonce=hello.nonce, versions=(1,))
    assert guest.send(told, inviter) == [] and inviter.refused() == [Code.EVENT_UNEXPECTED]


def test_a_token_is_not_a_way_to_be_invited() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    guest.door = HEART
    hello = guest.joiner.hello
    guest.gate = Guest(inviter.invite()).gate
    told = Hello(role="invited", statement=b"", curve_key=hello.curve_key, nonce=hello.nonce, versions=(1,))
    event = received(told, node_id(GUEST.public_key), session=b"in:x", project=HEART.project_id)
    inviter.feed("enrolment", event)
    assert inviter.refused() == [Code.EVENT_UNEXPECTED]


def test_a_banned_node_is_refused_although_its_invitation_is_good() -> None:
    inviter = Inviter()
    invitation = inviter.invite()
    inviter.ask(BanPeer(node=node_id(GUEST.public_key)))
    assert code_of(Guest(invitation).knock(inviter)) == Code.NODE_BANNED
    assert inviter.machines["gate"].snapshot().refused.get(Code.NODE_BANNED)
    assert isinstance(Guest(invitation, OTHER, b"in:other").knock(inviter), Granted)


def test_a_ban_ends_a_handshake_that_has_begun() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    guest.send(guest.joiner.hello, inviter)
    assert inviter.machines["enrolment"].snapshot().sessions == 1
    inviter.publish(PeersAllowed(banned=frozenset([node_id(GUEST.public_key)])))
    assert inviter.machines["enrolment"].snapshot().sessions == 0


def test_a_guest_that_says_nothing_more_is_forgotten() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    guest.send(guest.joiner.hello, inviter)
    inviter.at = now(HANDSHAKE_LIMIT_MS)
    (name,) = [one for one in inviter.timers if one.startswith("session:")]
    inviter.feed("enrolment", TimerFired(name=name))
    assert inviter.machines["enrolment"].snapshot().sessions == 0


def test_a_grant_out_of_turn_reaches_nobody() -> None:
    """A node never opens a connection over which it would be let through."""
    gate = Gate(GUEST, 1, {})
    inviter = Inviter()
    dial = DialDoor(
        session=b"dial",
        node=inviter.id,
        node_key=inviter.key.public_key,
        server_curve=b"c" * 32,
        addresses=(),
        project=HEART.project_id,
    )
    gate.step(dial, now())
    sender = Gate(inviter.key, 1, {})
    sender.step(
        DialDoor(
            session=b"s",
            node=node_id(GUEST.public_key),
            node_key=GUEST.public_key,
            server_curve=b"c" * 32,
            addresses=(),
            project=HEART.project_id,
        ),
        now(),
    )
    for message, code in ((Granted(token=TOKEN, name="heart"), Code.TYPE_NOT_ALLOWED), (Welcome(), None)):
        (sent,) = sender.step(Outgoing(send=Send(message=message, session=b"s", project=HEART.project_id)), now())
        assert isinstance(sent, Publish)
        (told,) = gate.step(Arrived(raw=sent.event.raw, session=b"dial", dialled=True), now())
        assert isinstance(told, Publish) and getattr(told.event, "code", None) == code


def test_an_invitation_that_is_forgotten_during_the_handshake_makes_nobody_a_submitter() -> None:
    inviter = Inviter()
    guest = Guest(inviter.invite())
    (challenge,) = guest.send(guest.joiner.hello, inviter)
    proof = guest.joiner.answer(challenge, inviter.at)
    before = len(inviter.told)
    inviter.feed("enrolment", DoorsOpened(doors=()))
    frame = guest.gate.step(Outgoing(send=Send(message=proof, session=b"dial", project=guest.door.project_id)), now())
    assert isinstance(frame[0], Publish)
    inviter.feed("gate", Arrived(raw=frame[0].event.raw, session=guest.session, project=guest.door.project_id))
    assert not [one for one in inviter.told[before:] if isinstance(one, SubmitterProved)]
    assert HangUp(session=guest.session) in inviter.told[before:]
