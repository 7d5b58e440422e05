"""Admission: whom the operator of this node lets in. Bans, acceptances and invitations, kept whatever else is lost.

It decides nothing at the door. It tells the other machines who may be a peer and which doors stand open for the
invited, at every start and on every change; they refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

from protocol import kinds, standalone
from protocol.errors import Code, DeniedError
from protocol.ids import format_id, format_invitation_id, format_project_id
from protocol.invitation import NONCE_BYTES, Invitation, format_invitation
from protocol.key_statement import verify_key_statement
from protocol.limits import ACCEPTED_MAX, BANS_MAX, INVITATION_LIFE_MS_MAX, RECORD_BYTES_MAX
from protocol.machines.answers import refused, tell
from protocol.machines.contract import (
    Audit,
    Drop,
    Effect,
    Effects,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    unexpected,
)
from protocol.machines.events import DoorsOpened, InvitationAnswered, InvitationProved, PeersAllowed, ProjectsHeld
from protocol.machines.invitations import InvitationRow, Invitations, InvitationView
from protocol.record import Record
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.control import (
    AcceptPeer,
    AskInvitations,
    BanPeer,
    Invite,
    Invited,
    Report,
    RevokeInvitation,
)


class BanRow(Record, frozen=True):
    since_ms: int
    reason: str = ""


class BanView(Record, frozen=True):
    node: bytes
    since_ms: int
    reason: str


class AdmissionSnapshot(Record, frozen=True):
    bans: tuple[BanView, ...]
    accepted: tuple[bytes, ...]
    listed: bool  # whether only nodes that are listed or accepted are let in
    left: bool


# All that this machine takes.
AdmissionEvent = Received | ProjectsHeld | InvitationProved


class Admission:
    """Machine of the admission actor."""

    def __init__(
        self,
        own_id: bytes,
        secret_root: bytes,
        listed: frozenset[bytes] | None,
        rows: Mapping[str, list[tuple[bytes, bytes]]],
        *,
        alone: bool = False,
    ) -> None:
        """`secret_root`: from it follow the secrets of invitations. `listed`: the nodes that the configuration admits;
        None for all. `alone`: a standalone node, whose peers and doors of another mode stay shut.
        """
        self._own_id = own_id
        self._alone = alone
        self._listed = listed
        self._bans = {  # limits.BANS_MAX
            key: decode_record(value, BanRow, bytes_max=RECORD_BYTES_MAX) for key, value in rows.get(kinds.BAN, [])
        }
        self._accepted = {key for key, _ in rows.get(kinds.ACCEPTED, [])}  # limits.ACCEPTED_MAX
        self._invitations = Invitations(secret_root, rows.get(kinds.INVITATION, []))
        self._projects: dict[bytes, ProjectKey] = {}  # limits.PROJECTS_MAX
        self._statement = b""
        self._left = False

    def begin(self, now: Now) -> Effects:
        forgotten = self._invitations.forget_old(now)
        persist = (Persist(writes=forgotten),) if forgotten else ()
        return (*persist, self._allowed(), self._doors())

    def step(self, event: AdmissionEvent, now: Now) -> Effects:
        match event:
            case Received():
                return self._asked(event, now)
            case ProjectsHeld(projects=projects, statement=statement, left=left):
                self._projects = {project.project_id: project for project in projects}
                self._statement, self._left = statement, left
                return ()
            case InvitationProved():
                return self._proved(event, now)
            case _:
                assert_never(event)

    def check(self) -> None:
        assert len(self._bans) <= BANS_MAX
        assert len(self._accepted) <= ACCEPTED_MAX
        assert not self._accepted & self._bans.keys()
        self._invitations.check()

    def snapshot(self) -> AdmissionSnapshot:
        return AdmissionSnapshot(
            bans=tuple(
                BanView(node=node, since_ms=row.since_ms, reason=row.reason) for node, row in sorted(self._bans.items())
            ),
            accepted=tuple(sorted(self._accepted)),
            listed=self._listed is not None,
            left=self._left,
        )

    # --- what the others are told -----------------------------------------------------------------

    def _allowed(self) -> Publish:
        named = None if self._listed is None else self._listed | self._accepted
        return Publish(event=PeersAllowed(banned=frozenset(self._bans), named=named, alone=self._alone))

    def _doors(self) -> Publish:
        return Publish(event=DoorsOpened(doors=() if self._alone else self._invitations.doors()))

    # --- the operator -----------------------------------------------------------------------------

    def _asked(self, event: Received, now: Now) -> Effects:
        match event.message:
            case BanPeer() as ban:
                return self._answered(event, lambda: self._ban(ban, now))
            case AcceptPeer() as accept:
                return self._answered(event, lambda: self._accept(accept, now))
            case Invite() as invite:
                return self._answered(event, lambda: self._invite(invite, now))
            case RevokeInvitation() as revoke:
                return self._answered(event, lambda: self._revoke(revoke, now))
            case AskInvitations():
                views = [_described(view) for view in self._invitations.views(now)]
                return (tell(event, Report(values={"invitations": views})),)
        raise unexpected(event.message)

    def _answered(self, event: Received, work: Callable[[], tuple[Record, list[Effect]]]) -> Effects:
        """Does it, then answers; what speaks against it becomes a refusal."""
        try:
            answer, effects = work()
        except DeniedError as error:
            return (refused(event, error),)
        return (*effects, tell(event, answer))

    def _ban(self, ban: BanPeer, now: Now) -> tuple[Record, list[Effect]]:
        if ban.node == self._own_id:
            raise DeniedError(
                Code.POLICY_DENIED,
                "this is the node itself",
                next_step="flotta-p2p leave takes it out of its projects",
            )
        if len(self._bans) >= BANS_MAX and ban.node not in self._bans:
            raise DeniedError(
                Code.BUSY,
                f"{BANS_MAX} nodes are banned here, and no more can be",
                next_step="whoever makes new keys again and again is kept out by: flotta-p2p project rotate",
            )
        former = self._bans.get(ban.node)
        reason = ban.reason or (former.reason if former is not None else "")
        row = self._bans[ban.node] = BanRow(since_ms=now.wall_ms, reason=reason)
        self._accepted.discard(ban.node)
        writes = (
            Put(kind=kinds.BAN, key=ban.node, value=encode_record(row)),
            Drop(kind=kinds.ACCEPTED, key=ban.node),
            _audit(now, f"node banned: {ban.reason}" if ban.reason else "node banned", ban.node),
        )
        return Report(values={"node": format_id(ban.node), "banned": True}), [Persist(writes=writes), self._allowed()]

    def _accept(self, accept: AcceptPeer, now: Now) -> tuple[Record, list[Effect]]:
        if self._alone:
            raise standalone.refusal("accept")
        lifted = accept.node in self._bans
        effects = self._accepted_from_now(accept.node, now)
        return Report(values={"node": format_id(accept.node), "ban_lifted": lifted}), [*effects, self._allowed()]

    def _accepted_from_now(self, node: bytes, now: Now) -> list[Effect]:
        if len(self._accepted) >= ACCEPTED_MAX and node not in self._accepted:
            raise DeniedError(
                Code.BUSY,
                f"{ACCEPTED_MAX} nodes are accepted here, and no more can be",
                next_step="ban some that are gone, or list them in settings.peers",
            )
        self._bans.pop(node, None)
        self._accepted.add(node)
        writes = (
            Put(kind=kinds.ACCEPTED, key=node, value=now.wall_ms.to_bytes(8)),
            Drop(kind=kinds.BAN, key=node),
            _audit(now, "node accepted", node),
        )
        return [Persist(writes=writes)]

    def _invite(self, invite: Invite, now: Now) -> tuple[Record, list[Effect]]:
        if self._alone:
            raise standalone.refusal("invite")
        self._key_of(invite.project)
        if len(invite.nonce) != NONCE_BYTES or not 0 < invite.valid_ms <= INVITATION_LIFE_MS_MAX:
            raise DeniedError(Code.PARAMETER_WRONG, "an invitation is valid for 30 days at most")
        own = verify_key_statement(self._statement, 0)
        if own.is_client:
            raise DeniedError(
                Code.POLICY_DENIED,
                "this node is a client, and whoever it invited could not reach it",
                next_step="make the invitation on the node that it joined",
            )
        forgotten = self._invitations.forget_old(now)
        row = InvitationRow(
            nonce=invite.nonce, project=invite.project, name=invite.name, expires_ms=now.wall_ms + invite.valid_ms
        )
        put = self._invitations.issue(row)
        text = format_invitation(
            Invitation(
                secret=self._invitations.secret(row),
                node_key=own.node_key,
                curve_key=own.statement.curve_key,
                addresses=own.statement.addresses,
                project=invite.name,
                expires_ms=row.expires_ms,
            )
        )
        answer = Invited(invitation=put.key, text=text, expires_ms=row.expires_ms, addresses=own.statement.addresses)
        audit = _audit(now, f"invitation made for {invite.name}", put.key)
        return answer, [Persist(writes=(*forgotten, put, audit)), self._doors()]

    def _key_of(self, project: bytes) -> ProjectKey:
        if self._left:
            raise DeniedError(Code.NODE_LEFT, "this node has left its projects", next_step="flotta-p2p rejoin")
        key = self._projects.get(project)
        if key is None or key.token is None:
            raise DeniedError(
                Code.PROJECT_UNKNOWN,
                f"this node does not hold the token of the project {format_project_id(project)}",
                next_step="flotta-p2p project list",
            )
        return key

    def _revoke(self, revoke: RevokeInvitation, now: Now) -> tuple[Record, list[Effect]]:
        put = self._invitations.revoke(revoke.invitation, now)
        values = {"invitation": format_invitation_id(revoke.invitation), "revoked": True}
        return Report(values=values), [Persist(writes=(put, _audit(now, "invitation revoked", revoke.invitation)))]

    # --- the invited ------------------------------------------------------------------------------

    def _proved(self, event: InvitationProved, now: Now) -> Effects:
        """The use is committed before the token is handed out: a crash in between costs the joiner a repetition, never
        the operator a second guest.
        """
        try:
            row = self._invitations.usable(event.invitation, event.joiner, now)
            token = self._key_of(row.project).token
            effects = self._invited(event.joiner, now)
        except DeniedError as error:
            refusal = InvitationAnswered(
                session=event.session, code=error.code, sentence=error.sentence, next_step=error.next_step
            )
            return (Publish(event=refusal),)
        put = self._invitations.use(event.invitation, event.joiner, now)
        granted = InvitationAnswered(session=event.session, token=token, name=row.name)
        audit = _audit(now, f"invitation used for {row.name}", event.joiner)
        return (*effects, Persist(writes=(put, audit)), self._allowed(), Publish(event=granted))

    def _invited(self, joiner: bytes, now: Now) -> list[Effect]:
        """Whoever hands out an invitation accepts the node that comes with it; a ban is not lifted by one."""
        if joiner in self._bans:
            sentence = "the operator of this node has banned the node that knocks"
            raise DeniedError(Code.NODE_BANNED, sentence, next_step="ask that operator to lift the ban")
        return self._accepted_from_now(joiner, now)


def _audit(now: Now, event: str, detail: bytes) -> Audit:
    return Audit(wall_ms=now.wall_ms, actor="operator", event=event, detail=detail)


def _described(view: InvitationView) -> dict[str, object]:
    return {
        "id": format_invitation_id(view.invitation),
        "project": view.name,
        "expires_ms": view.expires_ms,
        "state": view.state,
        "used_by": format_id(view.used_by) if view.used_by else None,
    }
