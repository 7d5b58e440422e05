"""The gateway: what the operator asks over the control socket, answered by the actors of the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.adapters.control_socket import ControlServer
from actors.base import ActorHandle, Context, SupervisedActor
from actors.messages import Snapshot, SnapshotWanted
from actors.ports import Clock
from actors.projects import HoldProjects
from actors.timers import TimerService
from protocol.errors import Code, FlottaError
from protocol.limits import CONTROL_WAIT_MS_MAX, REPORT_LIMIT_MS
from protocol.machines.contract import Received, Record, TimerFired
from protocol.machines.events import CONTROL_SESSION, OPERATOR, ControlAnswer, Counted, JobChanged
from protocol.tokens import ProjectKey
from protocol.wire.control import AskPeers, AskProof, AskStatus, ProofGiven, ReloadProjects, Report, WaitJob
from protocol.wire.jobs import ENDED, AskJob, JobStatus
from protocol.wire.peers import Refused


class Requested(Record, frozen=True):
    """One request of a control client."""

    client: int
    message: Any


class _Report:
    """A report that still waits for the snapshots of some actors."""

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        self.parts: dict[str, Any] = {}


class _Wait:
    """A client that waits for news of a job."""

    def __init__(self, wait: WaitJob) -> None:
        self.wait = wait
        self.latest: JobStatus | None = None

    def has_news(self, status: JobStatus) -> bool:
        return status.state in ENDED or (status.state, status.tasks_done) != (
            self.wait.known_state,
            self.wait.known_done,
        )


class GatewayActor(SupervisedActor):
    """`describe` turns the snapshots into the values of a report; `reload` reads the project tokens anew."""

    def __init__(
        self,
        context: Context,
        *,
        socket_path: Path,
        siblings: Mapping[str, ActorHandle],
        reporters: tuple[str, ...],
        publish: Callable[[Any], None],
        describe: Callable[[str, dict[str, Any]], dict[str, Any]],
        reload: Callable[[], tuple[ProjectKey, ...]],
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
        self._projects: tuple[ProjectKey, ...] = ()
        self._requests = 0
        self._reports: dict[int, tuple[str, _Report]] = {}  # limits.CONTROL_CLIENTS_MAX
        self._waits: dict[int, _Wait] = {}  # limits.CONTROL_CLIENTS_MAX
        self._socket_path = socket_path
        self._server: ControlServer | None = None

    def begin(self) -> None:
        self._projects = self._reload()
        self._server = ControlServer(
            self._socket_path, lambda client, message: self._tell_self(Requested(client=client, message=message))
        )
        self._server.start()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case Requested(client=client, message=request):
                self._request(client, request)
            case ControlAnswer(session=session, message=answer):
                self._answered(int(session.removeprefix(CONTROL_SESSION)), answer)
            case Snapshot():
                self._reported(message)
            case JobChanged(status=status):
                self._job_changed(status)
            case TimerFired(name=name):
                self._late(name)
            case Counted():
                pass  # the gate counts; its snapshot tells

    def end(self) -> None:
        self._timers.clear_all(self.address)
        if self._server is not None:
            self._server.close()

    def _tell_self(self, message: Any) -> None:
        self.address.tell(message)

    def _send(self, client: int, message: Any) -> None:
        assert self._server is not None
        self._server.answer(client, message)

    def _request(self, client: int, request: Any) -> None:
        match request:
            case AskStatus():
                self._gather(client, "status")
            case AskPeers():
                self._gather(client, "peers")
            case AskProof():
                self._send(client, self._prove(request))
            case ReloadProjects():
                self._send(client, self._reload_projects())
            case WaitJob(job_id=job_id, wait_ms=wait_ms):
                self._waits[client] = _Wait(request)
                pause = max(0, min(wait_ms, CONTROL_WAIT_MS_MAX))
                self._timers.set(self.address, f"wait:{client}", self._clock.now().after_ms(pause), 0)
                self._ask(client, AskJob(job_id=job_id))
            case _:
                self._ask(client, request)

    def _ask(self, client: int, message: Any) -> None:
        """Hands a job message to the scheduler, as from the operator of this node."""
        self._requests += 1
        self._publish(
            Received(
                message=message,
                sender=OPERATOR,
                message_id=self._requests.to_bytes(16),
                session=CONTROL_SESSION + str(client).encode(),
            )
        )

    def _prove(self, ask: AskProof) -> ProofGiven | Refused:
        for project in self._projects:
            if project.project_id == ask.project:
                return ProofGiven(proof=project.submit_proof(ask.job_id, ask.submitter_key))
        return Refused(
            code=Code.PROJECT_UNKNOWN,
            sentence="this node does not hold the project's token",
            next_step="add it with `flotta-p2p project add`",
        )

    def _reload_projects(self) -> Report | Refused:
        try:
            self._projects = self._reload()
        except FlottaError as error:
            return Refused(code=error.code, sentence=error.sentence, next_step=error.next_step)
        self._siblings["projects"].tell(HoldProjects(projects=self._projects))
        return Report(values={"projects": len(self._projects)})

    # --- waiting for a job -----------------------------------------------------------------------

    def _answered(self, client: int, answer: Any) -> None:
        wait = self._waits.get(client)
        if wait is None:
            self._send(client, answer)
        elif isinstance(answer, JobStatus) and not wait.has_news(answer):
            wait.latest = answer
        else:
            self._end_wait(client, answer)

    def _job_changed(self, status: JobStatus) -> None:
        for client, wait in list(self._waits.items()):
            if wait.wait.job_id == status.job_id:
                wait.latest = status
                if wait.has_news(status):
                    self._end_wait(client, status)

    def _end_wait(self, client: int, answer: Any) -> None:
        del self._waits[client]
        self._timers.clear(self.address, f"wait:{client}")
        self._send(client, answer)

    # --- reports ---------------------------------------------------------------------------------

    def _gather(self, client: int, kind: str) -> None:
        report = _Report(set(self._reporters))
        self._reports[client] = (kind, report)
        for name in self._reporters:
            if not self._siblings[name].tell(SnapshotWanted(ticket=client, reply_to=self.address)):
                report.missing.discard(name)
        self._timers.set(self.address, f"report:{client}", self._clock.now().after_ms(REPORT_LIMIT_MS), 0)
        self._finish_report(client)

    def _reported(self, snapshot: Snapshot) -> None:
        waiting = self._reports.get(snapshot.ticket)
        if waiting is not None:
            _, report = waiting
            report.parts[snapshot.name] = snapshot.values
            report.missing.discard(snapshot.name)
            self._finish_report(snapshot.ticket)

    def _finish_report(self, client: int) -> None:
        kind, report = self._reports[client]
        if report.missing:
            return
        del self._reports[client]
        self._timers.clear(self.address, f"report:{client}")
        self._send(client, Report(values=self._describe(kind, report.parts)))

    def _late(self, name: str) -> None:
        """A report is given without the actors that did not answer; a wait ends with what is known."""
        kind, _, number = name.partition(":")
        client = int(number)
        if kind == "report" and client in self._reports:
            self._reports[client][1].missing.clear()
            self._finish_report(client)
        elif kind == "wait" and client in self._waits:
            latest = self._waits[client].latest
            refused = Refused(code=Code.TIMED_OUT, sentence="the scheduler did not answer in time")
            self._end_wait(client, latest or refused)
