"""The joiner's half of the handshake at the door: for the machine `Enrolment`, a submitter, and the invited."""

from __future__ import annotations

from typing import Final, Literal

from protocol.errors import Code, RemoteProtocolError
from protocol.key_statement import Certified, verify_key_statement
from protocol.machines.contract import Now
from protocol.tokens import ProjectKey
from protocol.wire.door import Challenge, Hello, Proof

VERSION: Final = 1


class Joiner:
    """One handshake: `hello` goes first, then what `answer` makes of the challenge."""

    def __init__(
        self,
        *,
        role: Literal["node", "submitter", "invited"],
        own_id: bytes,
        statement: bytes,
        curve_key: bytes,
        nonce: bytes,
        target: Certified,
        project: ProjectKey,
    ) -> None:
        self.target = target
        self.project = project
        self._own_id = own_id
        self._curve_key = curve_key
        self._nonce = nonce
        self.hello = Hello(role=role, statement=statement, curve_key=curve_key, nonce=nonce, versions=(VERSION,))

    def answer(self, challenge: Challenge, now: Now) -> Proof:
        """Checks the responder's proof. Raises RemoteProtocolError(PROOF_WRONG | STATEMENT_MALFORMED | …)."""
        certified = verify_key_statement(challenge.statement, now.wall_ms)
        if certified.node != self.target.node or certified.statement.curve_key != self.target.statement.curve_key:
            raise RemoteProtocolError(Code.STATEMENT_MALFORMED, "the node at the door is not the one that was dialled")
        if challenge.version != VERSION or len(challenge.nonce) != 16:
            raise RemoteProtocolError(Code.BODY_MALFORMED, "a challenge of an unknown version")
        if not self.project.check_proof("responder", *self._bound(challenge), challenge.proof):
            raise RemoteProtocolError(Code.PROOF_WRONG, "the node did not prove to know the project's token")
        self.target = certified
        return Proof(proof=self.project.proof("joiner", *self._bound(challenge)))

    def _bound(self, challenge: Challenge) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes]:
        return (
            self._own_id,
            self.target.node,
            self._curve_key,
            self.target.statement.curve_key,
            self._nonce,
            challenge.nonce,
        )
