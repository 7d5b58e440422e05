"""The gateway: what the operator asks over the control socket, answered by the actors of the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from actors.adapters.control_socket import ControlServer
from actors.base import ActorHandle, Context, SupervisedActor
from actors.failpoints import Point, reached
from actors.messages import Snapshot, SnapshotWanted
from actors.ports import Clock
from actors.projects import Held, HoldProjects
from actors.timers import TimerService
from protocol.errors import Code, FlottaError, RemoteProtocolError
from protocol.limits import ASK_LIMIT_MS, CONTROL_WAIT_MS_MAX, REPORT_LIMIT_MS
from protocol.machines.contract import Received, TimerFired
from protocol.machines.events import CONTROL_SESSION, OPERATOR, ControlAnswer, JobChanged
from protocol.record import Record
from protocol.wire.control import (
    AcceptPeer,
    AskInvitations,
    AskPeers,
    AskProof,
    AskStatus,
    BanPeer,
    Invite,
    ProofGiven,
    ReloadProjects,
    Report,
    RevokeInvitation,
    StopRun,
    TakeRun,
    WaitJob,
)
from protocol.wire.jobs import (
    ENDED,
    AskCancel,
    AskJob,
    AskJobs,
    AskRemove,
    AskRemoveEnded,
    AskResult,
    AskResultChunk,
    JobStatus,
    Submit,
)
from protocol.wire.peers import AskSchema, AskSources, Refused

_NUMBER_BITS: Final = 32  # requests of one incarnation; the generation stands above them, so that none ever returns


class Requested(Record, frozen=True):
    """One request of a control client, which has no other one open."""

    client: int
    message: Any


class ClientGone(Record, frozen=True):
    """A control client has left: nobody waits for its answer any more."""

    client: int


class ServerFailed(Record, frozen=True):
    """The thread of the control socket has ended by itself."""

    error: Exception


class _Open:
    """A request that is not answered yet."""

    def __init__(self, client: int) -> None:
        self.client = client


class _Report(_Open):
    """It still waits for the snapshots of some actors."""

    def __init__(self, client: int, kind: Literal["status", "peers"], reporters: tuple[str, ...]) -> None:
        super().__init__(client)
        self.kind = kind
        self.missing = set(reporters)
        self.parts: dict[str, Any] = dict.fromkeys(reporters)


class _Wait(_Open):
    """The client waits for news of a job."""

    def __init__(self, client: int, wait: WaitJob) -> None:
        super().__init__(client)
        self.wait = wait
        self.latest: JobStatus | None = None

    def has_news(self, status: JobStatus) -> bool:
        known = (self.wait.known_state, self.wait.known_done)
        return status.state in ENDED or (status.state, status.tasks_done) != known


class GatewayActor(SupervisedActor):
    """`describe` turns the snapshots into the values of a report; `reload` reads tokens and join addresses anew."""

    def __init__(
        self,
        context: Context,
        *,
        socket_path: Path,
        siblings: Mapping[str, ActorHandle],
        reporters: tuple[str, ...],
        publish: Callable[[Any], None],
        describe: Callable[[str, dict[str, Any]], dict[str, Any]],
        reload: Callable[[], Held],
        clock: Clock,
        timers: TimerService,
    ) -> None:
        super().__init__(context)
        self._siblings = siblings
        self._reporters = reporters
        self._publish = publish
        self._describe = describe
        self._reload = reload
        self._clock = clock
        self._timers = timers
        self._held = Held(projects=())
        # Numbers the requests: an answer that comes late must not be taken for the next one's.
        self._requests = context.generation << _NUMBER_BITS
        self._open: dict[int, _Open] = {}  # limits.CONTROL_CLIENTS_MAX: number → one request of each client
        self._socket_path = socket_path
        self._server: ControlServer | None = None

    def begin(self) -> None:
        self._held = self._reload()
        self._server = ControlServer(
            self._socket_path,
            on_request=lambda client, message: self._tell_self(Requested(client=client, message=message)),
            on_gone=lambda client: self._tell_self(ClientGone(client=client)),
            on_fault=lambda error: self._tell_self(ServerFailed(error=error)),
        )
        self._server.start()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case Requested(client=client, message=request):
                self._request(client, request)
            case ClientGone(client=client):
                self._forget(client)
            case ControlAnswer(session=session, message=answer):
                self._answered(int(session.removeprefix(CONTROL_SESSION)), answer)
            case Snapshot():
                self._reported(message)
            case JobChanged(status=status):
                self._job_changed(status)
            case TimerFired(name=name):
                self._late(int(name))
            case ServerFailed(error=error):
                raise error

    def end(self) -> None:
        self._timers.clear_all(self.address)
        if self._server is not None:
            self._server.close()

    def _tell_self(self, message: Any) -> None:
        self.address.tell(message)

    # --- requests and answers --------------------------------------------------------------------

    def _request(self, client: int, request: Any) -> None:
        match request:
            case AskStatus():
                self._gather(_Report(client, "status", self._reporters))
            case AskPeers():
                self._gather(_Report(client, "peers", self._reporters))
            case AskProof():
                self._send(client, self._prove(request))
            case ReloadProjects():
                self._send(client, self._reload_projects())
            case WaitJob(job_id=job_id, wait_ms=wait_ms):
                number = self._opened(_Wait(client, request), max(0, min(wait_ms, CONTROL_WAIT_MS_MAX)))
                self._publish(_from_operator(number, AskJob(job_id=job_id, with_tasks=False)))
            case (
                Submit()
                | AskJob()
                | AskResult()
                | AskResultChunk()
                | AskCancel()
                | AskJobs()
                | AskRemove()
                | AskRemoveEnded()
                | AskSources()
                | AskSchema()
            ):
                self._publish(_from_operator(self._opened(_Open(client), ASK_LIMIT_MS), request))
            case Invite() | AskInvitations() | RevokeInvitation() | BanPeer() | AcceptPeer():
                number = self._opened(_Open(client), ASK_LIMIT_MS)
                self._siblings["admission"].tell(_from_operator(number, request))
            case TakeRun() | StopRun():
                self._siblings["keeper"].tell(_from_operator(self._opened(_Open(client), ASK_LIMIT_MS), request))
            case _:
                refused = Refused(code=Code.TYPE_NOT_ALLOWED, sentence=f"{type(request).__name__} is no request")
                self._send(client, refused)

    def _opened(self, opened: _Open, limit_ms: int) -> int:
        """Keeps a request until it is answered, `limit_ms` have passed or its client has gone. Returns its number."""
        self._requests += 1
        self._open[self._requests] = opened
        self._timers.set(self.address, str(self._requests), self._clock.now().after_ms(limit_ms), 0)
        return self._requests

    def _close(self, number: int, answer: Any) -> None:
        self._timers.clear(self.address, str(number))
        self._send(self._open.pop(number).client, answer)

    def _forget(self, client: int) -> None:
        for number in [number for number, opened in self._open.items() if opened.client == client]:
            self._timers.clear(self.address, str(number))
            del self._open[number]

    def _send(self, client: int, message: Any) -> None:
        assert self._server is not None
        try:
            self._server.answer(client, message)
        except RemoteProtocolError as error:
            self._server.answer(client, Refused(code=error.code, sentence=error.sentence))

    def _answered(self, number: int, answer: Any) -> None:
        opened = self._open.get(number)
        if isinstance(opened, _Wait) and isinstance(answer, JobStatus) and not opened.has_news(answer):
            opened.latest = answer
        elif opened is not None:
            reached(Point.ANSWER_BEFORE)
            self._close(number, answer)

    def _job_changed(self, status: JobStatus) -> None:
        for number, opened in list(self._open.items()):
            if isinstance(opened, _Wait) and opened.wait.job_id == status.job_id:
                opened.latest = status
                if opened.has_news(status):
                    self._close(number, status)

    def _late(self, number: int) -> None:
        """A report is given without the actors that did not answer; a wait ends with what is known."""
        opened = self._open.get(number)
        if isinstance(opened, _Report):
            self._finish_report(number, opened)
        elif opened is not None:
            latest = opened.latest if isinstance(opened, _Wait) else None
            refused = Refused(code=Code.TIMED_OUT, sentence="the node did not answer in time")
            self._close(number, latest or refused)

    # --- what the gateway answers itself ---------------------------------------------------------

    def _prove(self, ask: AskProof) -> ProofGiven | Refused:
        if self._held.left:
            return Refused(
                code=Code.NODE_LEFT, sentence="this node has left its projects", next_step="flotta-p2p rejoin"
            )
        for project in self._held.projects:
            if project.project_id == ask.project:
                return ProofGiven(proof=project.submit_proof(ask.job_id, ask.submitter_key))
        return Refused(
            code=Code.PROJECT_UNKNOWN,
            sentence="this node does not hold the project's token",
            next_step="add it with `flotta-p2p project add`",
        )

    def _reload_projects(self) -> Report | Refused:
        try:
            held = self._reload()
        except FlottaError as error:
            return Refused(code=error.code, sentence=error.sentence, next_step=error.next_step)
        self._held = held
        self._siblings["projects"].tell(HoldProjects(held=held))
        return Report(values={"projects": len(held.projects)})

    def _gather(self, report: _Report) -> None:
        number = self._opened(report, REPORT_LIMIT_MS)
        for name in self._reporters:
            if not self._siblings[name].tell(SnapshotWanted(ticket=number, reply_to=self.address)):
                report.missing.discard(name)
        if not report.missing:
            self._finish_report(number, report)

    def _reported(self, snapshot: Snapshot) -> None:
        report = self._open.get(snapshot.ticket)
        if isinstance(report, _Report):
            report.parts[snapshot.name] = snapshot.values
            report.missing.discard(snapshot.name)
            if not report.missing:
                self._finish_report(snapshot.ticket, report)

    def _finish_report(self, number: int, report: _Report) -> None:
        self._close(number, Report(values=self._describe(report.kind, report.parts)))


def _from_operator(number: int, message: Any) -> Received:
    return Received(
        message=message,
        sender=OPERATOR,
        message_id=number.to_bytes(16),
        session=CONTROL_SESSION + str(number).encode(),
    )
