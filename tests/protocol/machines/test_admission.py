"""Admission: what the operator decided is kept, told to all, and told again after every start."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import kinds
from protocol.errors import Code
from protocol.invitation import parse_invitation
from protocol.limits import (
    BANS_MAX,
    CLOCK_TOLERANCE_MS,
    INVITATION_KEEP_MS,
    INVITATION_LIFE_MS,
    INVITATION_LIFE_MS_MAX,
    INVITATION_REPEAT_MS,
    INVITATIONS_MAX,
)
from protocol.machines import invitations
from protocol.machines.admission import Admission
from protocol.machines.contract import Drop, Effects, Now, Put, Refuse
from protocol.machines.events import (
    DoorsOpened,
    InvitationAnswered,
    InvitationProved,
    PeersAllowed,
    ProjectsHeld,
)
from protocol.tokens import ProjectKey
from protocol.wire.control import AcceptPeer, AskInvitations, BanPeer, Invite, Invited, Report, RevokeInvitation
from tests.protocol.builders import OTHER_PROJECT, messages, news, node_key, now, received, statement, writes

TOKEN = "9d41c7f0a2b85e3617dd094c5b8e12fa6073bd2e"
HEART = ProjectKey.derive(TOKEN)
OWN, GUEST, OTHER = (statement(node_key(number)) for number in (1, 2, 3))
ROOT = b"r" * 32


class Desk:
    """An Admission with the rows that it has written; `again` is a new life of it."""

    def __init__(self, listed: frozenset[bytes] | None = None, *, alone: bool = False) -> None:
        self.rows: dict[str, dict[bytes, bytes]] = {}
        self.alone = alone
        self.listed = listed
        self.again()

    def again(self, at: Now | None = None) -> Effects:
        rows = {kind: sorted(table.items()) for kind, table in self.rows.items()}
        self.machine = Admission(OWN.node, ROOT, self.listed, rows, alone=self.alone)
        effects = self._kept(self.machine.begin(at or now()))
        self.machine.step(ProjectsHeld(projects=(HEART, OTHER_PROJECT), statement=OWN.data), now())
        return effects

    def ask(self, message: Any, at: Now | None = None) -> Effects:
        return self._kept(self.machine.step(received(message, b"operator", session=b"control:1"), at or now()))

    def prove(self, text: str, joiner: bytes = GUEST.node, at: Now | None = None) -> Effects:
        invitation = parse_invitation(text).key.project_id
        event = InvitationProved(session=b"in:1", invitation=invitation, joiner=joiner)
        return self._kept(self.machine.step(event, at or now()))

    def invite(self, nonce: bytes = b"n" * 16, valid_ms: int = INVITATION_LIFE_MS, at: Now | None = None) -> str:
        ask = Invite(project=HEART.project_id, name="heart", valid_ms=valid_ms, nonce=nonce)
        (made,) = messages(self.ask(ask, at), Invited)
        return str(made.text)

    def states(self, at: Now | None = None) -> list[str]:
        (report,) = messages(self.ask(AskInvitations(), at), Report)
        return [one["state"] for one in report.values["invitations"]]

    def _kept(self, effects: Effects) -> Effects:
        self.machine.check()
        for write in writes(effects):
            if isinstance(write, Put):
                self.rows.setdefault(write.kind, {})[write.key] = write.value
            elif isinstance(write, Drop):
                self.rows.get(write.kind, {}).pop(write.key, None)
        return effects


def allowed(effects: Effects) -> PeersAllowed:
    (one,) = news(effects, PeersAllowed)
    assert isinstance(one, PeersAllowed)
    return one


def answer(effects: Effects) -> InvitationAnswered:
    (one,) = news(effects, InvitationAnswered)
    assert isinstance(one, InvitationAnswered)
    return one


def refusal(effects: Effects) -> Refuse:
    (one,) = effects
    assert isinstance(one, Refuse) and one.session == b"control:1"
    return one


# --- bans and acceptances ----------------------------------------------------------------------------------------


def test_at_first_everybody_who_proves_a_token_is_let_in() -> None:
    assert allowed(Desk().again()) == PeersAllowed()


def test_a_ban_is_written_told_to_all_and_told_again_after_a_restart() -> None:
    desk = Desk()
    effects = desk.ask(BanPeer(node=GUEST.node, reason="lost laptop"))
    assert not allowed(effects).admits(GUEST.node) and allowed(effects).admits(OTHER.node)
    assert isinstance(effects[0].writes[0], Put)  # type: ignore[union-attr]
    assert kinds.BAN in kinds.SAFETY_KINDS
    assert not allowed(desk.again()).admits(GUEST.node)
    (ban,) = desk.machine.snapshot().bans
    assert (ban.node, ban.reason) == (GUEST.node, "lost laptop")
    desk.ask(BanPeer(node=GUEST.node))  # the reason stays until another one is given
    assert desk.machine.snapshot().bans[0].reason == "lost laptop"


def test_accepting_lifts_a_ban_for_good() -> None:
    desk = Desk()
    desk.ask(BanPeer(node=GUEST.node))
    effects = desk.ask(AcceptPeer(node=GUEST.node))
    assert messages(effects, Report)[0].values["ban_lifted"] is True
    assert allowed(effects).admits(GUEST.node) and allowed(desk.again()).admits(GUEST.node)


def test_with_a_list_only_the_listed_and_the_accepted_are_let_in() -> None:
    desk = Desk(listed=frozenset([OTHER.node]))
    assert allowed(desk.again()).admits(OTHER.node) and not allowed(desk.again()).admits(GUEST.node)
    desk.ask(AcceptPeer(node=GUEST.node))
    assert allowed(desk.again()).admits(GUEST.node)
    assert not allowed(desk.ask(BanPeer(node=OTHER.node))).admits(OTHER.node)  # a ban is stronger than a list


def test_a_node_does_not_ban_itself() -> None:
    assert refusal(Desk().ask(BanPeer(node=OWN.node))).code is Code.POLICY_DENIED


def test_bans_have_a_limit_and_one_more_is_refused() -> None:
    desk = Desk()
    for number in range(BANS_MAX):
        desk.machine.step(received(BanPeer(node=number.to_bytes(32)), b"operator", session=b"control:1"), now())
    assert refusal(desk.ask(BanPeer(node=GUEST.node))).code is Code.BUSY
    assert len(desk.machine.snapshot().bans) == BANS_MAX


# --- invitations -------------------------------------------------------------------------------------------------


def test_an_invitation_names_this_node_and_opens_a_door() -> None:
    desk = Desk()
    ask = Invite(project=HEART.project_id, name="heart", valid_ms=60_000, nonce=b"n" * 16)
    effects = desk.ask(ask)
    (made,) = messages(effects, Invited)
    invitation = parse_invitation(made.text)
    assert invitation.inviter.node == OWN.node and invitation.addresses == OWN.statement.addresses
    (opened,) = news(effects, DoorsOpened)
    assert [door.project_id for door in opened.doors] == [invitation.key.project_id] == [made.invitation]
    (again,) = news(desk.again(), DoorsOpened)
    assert [door.project_id for door in again.doors] == [made.invitation]


def test_neither_secret_nor_token_is_in_what_is_stored() -> None:
    desk = Desk()
    secret = parse_invitation(desk.invite()).secret
    desk.prove(desk.invite())
    stored = b"".join(value for table in desk.rows.values() for value in table.values())
    assert secret not in stored and TOKEN.encode() not in stored


def test_the_same_request_again_is_the_same_invitation() -> None:
    desk = Desk()
    assert desk.invite() == desk.invite() and desk.states() == ["open"]


def test_the_use_is_written_before_the_token_is_given_and_survives_a_restart() -> None:
    desk = Desk()
    text = desk.invite()
    effects = desk.prove(text)
    granted = answer(effects)
    assert granted.token is not None and granted.token.reveal() == TOKEN and granted.name == "heart"
    assert TOKEN not in repr(granted)
    assert any(isinstance(write, Put) and write.kind == kinds.INVITATION for write in writes(effects))
    assert kinds.INVITATION in kinds.SAFETY_KINDS
    desk.again()
    assert answer(desk.prove(text, OTHER.node)).code is Code.INVITATION_USED
    assert desk.states() == ["used"]


def test_the_same_node_may_repeat_for_ten_minutes_and_nobody_else() -> None:
    desk = Desk()
    text = desk.invite()
    assert answer(desk.prove(text)).token is not None
    assert answer(desk.prove(text, at=now(INVITATION_REPEAT_MS))).token is not None
    assert answer(desk.prove(text, OTHER.node, now(1))).token is None
    late = answer(desk.prove(text, at=now(INVITATION_REPEAT_MS + 1)))  # counted from the first use
    assert late.token is None and late.code is Code.INVITATION_USED


def test_an_expired_invitation_is_refused_with_its_own_code_and_clocks_may_differ() -> None:
    desk = Desk()
    text = desk.invite(valid_ms=60_000)
    late = answer(desk.prove(text, at=now(60_001 + CLOCK_TOLERANCE_MS)))
    assert late.token is None and late.code is Code.INVITATION_EXPIRED
    assert answer(desk.prove(text, at=now(60_000 + CLOCK_TOLERANCE_MS))).token is not None


def test_a_revoked_invitation_is_refused_with_its_own_code() -> None:
    desk = Desk()
    text = desk.invite()
    invitation = parse_invitation(text).key.project_id
    assert messages(desk.ask(RevokeInvitation(invitation=invitation)), Report)
    assert answer(desk.prove(text)).code is Code.INVITATION_REVOKED
    desk.again()
    assert answer(desk.prove(text)).code is Code.INVITATION_REVOKED
    assert refusal(desk.ask(RevokeInvitation(invitation=invitation))).code is Code.INVITATION_REVOKED


def test_an_unknown_invitation_is_refused() -> None:
    desk = Desk()
    event = InvitationProved(session=b"in:1", invitation=b"i" * 16, joiner=GUEST.node)
    assert answer(desk.machine.step(event, now())).code is Code.INVITATION_REVOKED


def test_an_invitation_accepts_the_node_and_lifts_no_ban() -> None:
    desk = Desk(listed=frozenset())
    effects = desk.prove(desk.invite())
    assert allowed(effects).admits(GUEST.node) and allowed(desk.again()).admits(GUEST.node)
    desk.ask(BanPeer(node=OTHER.node))
    refused = answer(desk.prove(desk.invite(b"m" * 16), OTHER.node))
    assert refused.token is None and refused.code is Code.NODE_BANNED
    assert desk.states() == ["used", "open"] or desk.states() == ["open", "used"]


@pytest.mark.parametrize("held", [(), (OTHER_PROJECT,)])
def test_no_token_is_given_of_a_project_that_is_no_longer_held(held: tuple[ProjectKey, ...]) -> None:
    desk = Desk()
    text = desk.invite()
    desk.machine.step(ProjectsHeld(projects=held, statement=OWN.data, left=not held), now())
    refused = answer(desk.prove(text))
    assert refused.token is None and refused.code is (Code.PROJECT_UNKNOWN if held else Code.NODE_LEFT)
    assert desk.states() == ["open"]  # nobody has used it


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"project": b"x" * 16}, Code.PROJECT_UNKNOWN),
        ({"project": OTHER_PROJECT.project_id}, Code.PROJECT_UNKNOWN),  # of which only the key is known
        ({"valid_ms": 0}, Code.PARAMETER_WRONG),
        ({"valid_ms": INVITATION_LIFE_MS_MAX + 1}, Code.PARAMETER_WRONG),
        ({"nonce": b"short"}, Code.PARAMETER_WRONG),
    ],
)
def test_what_cannot_be_invited_to_is_refused(changes: dict[str, Any], code: Code) -> None:
    fields: dict[str, Any] = {"project": HEART.project_id, "name": "heart", "valid_ms": 1_000, "nonce": b"n" * 16}
    assert refusal(Desk().ask(Invite(**(fields | changes)))).code is code


def test_old_invitations_are_forgotten_and_open_ones_never_for_a_new_one() -> None:
    desk = Desk()
    for number in range(INVITATIONS_MAX):
        desk.invite(number.to_bytes(16))
    ask = Invite(project=HEART.project_id, name="heart", valid_ms=1_000, nonce=b"n" * 16)
    assert refusal(desk.ask(ask)).code is Code.BUSY
    first = desk.machine._invitations.views(now())[0].invitation
    desk.ask(RevokeInvitation(invitation=first))
    desk.invite()  # takes the place of the one that is closed
    assert len(desk.states()) == INVITATIONS_MAX and "revoked" not in desk.states()
    desk.again(now(INVITATION_LIFE_MS + INVITATION_KEEP_MS + 1))
    assert desk.states() == [] and desk.rows[kinds.INVITATION] == {}


@pytest.mark.parametrize("state", invitations.TRANSITIONS)
@pytest.mark.parametrize("event", ["InvitationProved", "Revoke", "Expired"])
def test_an_invitation_moves_by_its_table_or_is_refused(state: Any, event: str) -> None:
    desk = Desk()
    text = desk.invite(valid_ms=60_000)
    key = parse_invitation(text).key.project_id
    late = now(60_001 + CLOCK_TOLERANCE_MS)
    at = late if state == "expired" or event == "Expired" else now(2)
    if state == "used":
        desk.prove(text)
    elif state == "revoked":
        desk.ask(RevokeInvitation(invitation=key))
    assert desk.states(late if state == "expired" else now(1)) == [state]
    if event == "InvitationProved":
        refused = answer(desk.prove(text, at=at)).token is None
    elif event == "Revoke":
        refused = isinstance(desk.ask(RevokeInvitation(invitation=key), at)[0], Refuse)
    else:
        refused = False
    expected = invitations.TRANSITIONS[state].get(event)
    assert desk.states(at) == [expected or state]
    assert refused == (expected is None and event != "Expired")


def test_a_client_makes_no_invitation_that_nobody_could_use() -> None:
    desk = Desk()
    client = statement(node_key(1), addresses=())
    desk.machine.step(ProjectsHeld(projects=(HEART,), statement=client.data), now())
    ask = Invite(project=HEART.project_id, name="heart", valid_ms=INVITATION_LIFE_MS, nonce=b"n" * 16)
    (refusal,) = desk.ask(ask)
    assert isinstance(refusal, Refuse) and refusal.code == Code.POLICY_DENIED
    (report,) = messages(desk.ask(AskInvitations()), Report)
    assert report.values["invitations"] == []


# --- standalone --------------------------------------------------------------------------------------------------


def test_a_standalone_node_admits_no_peer_and_opens_no_door_that_an_earlier_mode_left() -> None:
    desk = Desk()
    desk.invite()
    desk.ask(AcceptPeer(node=GUEST.node))
    desk.alone = True
    effects = desk.again()
    assert not allowed(effects).admits(GUEST.node)
    assert news(effects, DoorsOpened) == [DoorsOpened(doors=())]


@pytest.mark.parametrize(
    "ask",
    [
        Invite(project=HEART.project_id, name="heart", valid_ms=INVITATION_LIFE_MS, nonce=b"n" * 16),
        AcceptPeer(node=GUEST.node),
    ],
    ids=lambda ask: type(ask).__name__,
)
def test_a_standalone_node_refuses_what_would_connect_it_and_says_what_to_do(ask: Any) -> None:
    desk = Desk(alone=True)
    refused = refusal(desk.ask(ask))
    assert refused.code == Code.NODE_ALONE and "standalone" in refused.sentence and refused.next_step
    assert desk.rows == {}
