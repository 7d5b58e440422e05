"""The invitations of one node: which are open, and who has used which. Kept by the machine `Admission`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from protocol import kinds
from protocol.errors import Code, DeniedError
from protocol.invitation import invitation_key, invitation_secret
from protocol.limits import (
    CLOCK_TOLERANCE_MS,
    INVITATION_KEEP_MS,
    INVITATION_REPEAT_MS,
    INVITATIONS_MAX,
    RECORD_BYTES_MAX,
)
from protocol.machines.contract import Drop, Now, Put
from protocol.record import Record
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode_record

InvitationState = Literal["open", "used", "expired", "revoked"]

# A proof at the door that is not listed is refused, each state with its own code.
TRANSITIONS: Final[dict[InvitationState, dict[str, InvitationState]]] = {
    "open": {"InvitationProved": "used", "Revoke": "revoked", "Expired": "expired"},
    "used": {"InvitationProved": "used"},  # by the same node, whose connection died before it had read the grant
    "expired": {},
    "revoked": {},
}


class InvitationRow(Record, frozen=True):
    """The stored part. The secret follows from the nonce and the node's own key, and is not in it."""

    nonce: bytes
    project: bytes
    name: str
    expires_ms: int
    used_by: bytes = b""
    used_ms: int = 0
    revoked: bool = False

    def state(self, now: Now) -> InvitationState:
        if self.used_by:
            return "used"
        if self.revoked:
            return "revoked"
        return "expired" if now.wall_ms > self.expires_ms + CLOCK_TOLERANCE_MS else "open"


class InvitationView(Record, frozen=True):
    invitation: bytes
    project: bytes
    name: str
    expires_ms: int
    state: InvitationState
    used_by: bytes


class Invitations:
    def __init__(self, root: bytes, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """`root`: 32 bytes that only this node knows."""
        self._root = root
        self._rows = {  # limits.INVITATIONS_MAX: id → row
            key: decode_record(value, InvitationRow, bytes_max=RECORD_BYTES_MAX) for key, value in rows
        }
        self._keys = {
            key: invitation_key(self.secret(row)) for key, row in self._rows.items()
        }  # limits.INVITATIONS_MAX

    def doors(self) -> tuple[ProjectKey, ...]:
        """Of the used and expired ones too: who knocks with one is told what is the matter."""
        return tuple(self._keys.values())

    def secret(self, row: InvitationRow) -> bytes:
        return invitation_secret(self._root, row.nonce)

    def views(self, now: Now) -> tuple[InvitationView, ...]:
        return tuple(
            InvitationView(
                invitation=key,
                project=row.project,
                name=row.name,
                expires_ms=row.expires_ms,
                state=row.state(now),
                used_by=row.used_by,
            )
            for key, row in self._rows.items()
        )

    def issue(self, row: InvitationRow) -> Put:
        """Keeps a new one; the same nonce again is the same invitation. Raises DeniedError(BUSY)."""
        key = invitation_key(self.secret(row))
        if len(self._rows) >= INVITATIONS_MAX and key.project_id not in self._rows:
            raise DeniedError(
                Code.BUSY,
                f"this node remembers {INVITATIONS_MAX} invitations and makes no more for now",
                next_step="flotta-p2p peers invite --revoke ID, for one that is still open",
            )
        self._keys[key.project_id] = key
        return self._put(key.project_id, row)

    def revoke(self, invitation: bytes, now: Now) -> Put:
        """Raises DeniedError when it is not open."""
        row = self._row(invitation)
        if row.state(now) != "open":
            raise _refusal(row.state(now), row)
        return self._put(invitation, msgspec.structs.replace(row, revoked=True))

    def usable(self, invitation: bytes, joiner: bytes, now: Now) -> InvitationRow:
        """The invitation, if this node may use it now. Raises DeniedError, with a code for each reason."""
        row = self._row(invitation)
        state = row.state(now)
        again = row.used_by == joiner and now.wall_ms <= row.used_ms + INVITATION_REPEAT_MS
        if state != "open" and not again:
            raise _refusal(state, row)
        return row

    def use(self, invitation: bytes, joiner: bytes, now: Now) -> Put:
        """It is the joiner's from now on; a repetition does not prolong the time in which it may repeat."""
        row = self._row(invitation)
        if not row.used_by:
            row = msgspec.structs.replace(row, used_by=joiner, used_ms=now.wall_ms)
        return self._put(invitation, row)

    def forget_old(self, now: Now) -> tuple[Drop, ...]:
        """Those that expired INVITATION_KEEP_MS ago, or, when all places are taken, one that is not open any more."""
        ended = [key for key, row in self._rows.items() if now.wall_ms > row.expires_ms + INVITATION_KEEP_MS]
        if not ended and len(self._rows) >= INVITATIONS_MAX:
            ended = [key for key, row in self._rows.items() if row.state(now) != "open"][:1]
        for key in ended:
            del self._rows[key], self._keys[key]
        return tuple(Drop(kind=kinds.INVITATION, key=key) for key in ended)

    def check(self) -> None:
        assert len(self._rows) <= INVITATIONS_MAX
        assert self._rows.keys() == self._keys.keys()

    def _row(self, invitation: bytes) -> InvitationRow:
        row = self._rows.get(invitation)
        if row is None:
            raise DeniedError(
                Code.INVITATION_REVOKED,
                "this node does not know the invitation (any more)",
                next_step="flotta-p2p peers invitations shows those that it knows",
            )
        return row

    def _put(self, invitation: bytes, row: InvitationRow) -> Put:
        self._rows[invitation] = row
        return Put(kind=kinds.INVITATION, key=invitation, value=encode_record(row))


def _refusal(state: InvitationState, row: InvitationRow) -> DeniedError:
    code, sentence = {
        "used": (Code.INVITATION_USED, "this invitation has been used already, and each is good for one node"),
        "expired": (Code.INVITATION_EXPIRED, "this invitation has expired"),
        "revoked": (Code.INVITATION_REVOKED, "this invitation was revoked by its operator"),
    }[state]
    return DeniedError(code, sentence, next_step=f"ask for another one: flotta-p2p peers invite --project {row.name}")
