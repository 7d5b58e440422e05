"""Messages at the door: between one who knows a project's door key and a node of that project.

joiner → responder: Hello, Proof.  responder → joiner: Challenge, Welcome, and Granted to the invited.
A client and a node that it cannot dial say Credential to each other instead, through a scheduler of the client.
"""

from __future__ import annotations

from typing import Literal

from protocol.record import Record


class Hello(Record, frozen=True):
    """Who knocks. A node shows its key statement; a submitter, and who comes with an invitation, only the CURVE key of
    its door connection.
    """

    role: Literal["node", "submitter", "invited"]
    statement: bytes
    curve_key: bytes
    nonce: bytes
    versions: tuple[int, ...]


class Challenge(Record, frozen=True):
    """The responder's proof that it knows the token, bound to both ids, CURVE keys and nonces."""

    statement: bytes
    nonce: bytes
    proof: bytes
    version: int


class Proof(Record, frozen=True):
    """The joiner's proof."""

    proof: bytes


class Welcome(Record, frozen=True):
    """The joiner is accepted: a node as a peer of this project, a submitter for its own jobs."""


class Credential(Record, frozen=True):
    """A node's key statement, and its proof to be in the project of the frame's head. `answer_wanted`: the other is to
    prove the same.
    """

    statement: bytes
    proof: bytes
    answer_wanted: bool


class Granted(Record, frozen=True):
    """The invitation was good: here is the token of the project, and the inviter's name for it. Its repr hides it."""

    token: str
    name: str

    def __repr__(self) -> str:
        return f"Granted(name={self.name!r}, token=***)"
