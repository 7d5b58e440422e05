"""How a client and a node that it cannot dial prove to each other that they are in one project.

    client                          its scheduler                      node
      |  Credential(statement, proof)  ------>  passes it on  ------>   |
      |  <------  passes it on  <------  Credential(statement, proof)   |

The proof is an HMAC under the project's key over the node's id and keys, and each frame is signed with that node's key
and sealed for the other: so one word each way says as much as a handshake.
"""

from __future__ import annotations

from protocol.errors import Code, RemoteProtocolError
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import STRANGERS_MAX
from protocol.machines.contract import Effect, Effects, Now, Publish, Received, Send
from protocol.machines.events import RELAY_SESSION, Introduce
from protocol.tokens import ProjectKey
from protocol.wire.door import Credential


class Credentials:
    """Part of the machine `Enrolment`: what it shows, and what it believes."""

    def __init__(self, own_id: bytes, curve_key: bytes, seal_key: bytes, *, client: bool) -> None:
        self.statement = b""
        self._own_id = own_id
        self._keys = (curve_key, seal_key)
        self._client = client
        self._to_answer: dict[bytes, ProjectKey] = {}  # limits.STRANGERS_MAX: client → project of its credential

    def check(self) -> None:
        assert len(self._to_answer) <= STRANGERS_MAX

    def show(self, target: Certified, project: ProjectKey) -> list[Effect]:
        """By a client, to a node that it was introduced to."""
        session = RELAY_SESSION + target.node
        opened = Introduce(
            session=session,
            node_key=target.node_key,
            seal_key=target.statement.seal_key,
            project=project.project_id,
        )
        credential = self._own(project, answer_wanted=True)
        return [Publish(event=opened), Send(message=credential, session=session, project=project.project_id)]

    def believe(self, event: Received, credential: Credential, project: ProjectKey, now: Now) -> Certified:
        """The node that showed it. Raises RemoteProtocolError."""
        if credential.answer_wanted == self._client:
            raise RemoteProtocolError(Code.EVENT_UNEXPECTED, "a credential from one who should wait for ours")
        certified = verify_key_statement(credential.statement, now.wall_ms)
        if certified.node != event.sender or certified.is_client == self._client:
            raise RemoteProtocolError(Code.SENDER_WRONG, "a credential with another node's statement")
        keys = (certified.statement.curve_key, certified.statement.seal_key)
        if not project.check_member_proof(certified.node, *keys, credential.proof):
            raise RemoteProtocolError(Code.PROOF_WRONG, "the proof of the token is wrong")
        return certified

    def owe_answer(self, node: bytes, project: ProjectKey) -> None:
        """To a client that may be a peer. One that membership does not take is never answered, and gives way."""
        if self._client:
            return  # it has shown its own first
        if node not in self._to_answer and len(self._to_answer) >= STRANGERS_MAX:
            del self._to_answer[next(iter(self._to_answer))]
        self._to_answer[node] = project

    def answer(self, node: bytes) -> Effects:
        """To a client, once membership has stored it: else a crash in between would leave it with a peer that does not
        know it.
        """
        project = self._to_answer.pop(node, None)
        if project is None:
            return ()
        return (Send(message=self._own(project, answer_wanted=False), to=node, project=project.project_id),)

    def _own(self, project: ProjectKey, *, answer_wanted: bool) -> Credential:
        proof = project.member_proof(self._own_id, *self._keys)
        return Credential(statement=self.statement, proof=proof, answer_wanted=answer_wanted)
