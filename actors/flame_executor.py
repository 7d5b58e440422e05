"""The executor of one run: drives the machine `protocol.machines.flame_run`, owns the folder of the run.

It starts when it begins, and stops itself when every flame node has ended and the result is on the disk; a run that is
suspended gets none. Who watches hears `RunProgress` after every change of a state and a few times a second, and last
`RunOver`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, assert_never

from actors.adapters.flame_control import ControlLost, FlameControl, NodeSaid, ProgramEnded
from actors.adapters.flame_files import HeldRun, hide_sockets, keep_result, make_shared, show_progress, show_sockets
from actors.adapters.flame_writes import WriteAsked
from actors.base import ActorHandle, Context, SupervisedActor
from actors.flame_ending import WriteArchive, result_of, with_archive
from actors.flame_plans import plans_of
from actors.flame_programs import FlamePrograms
from actors.flame_progress import progress_of
from actors.flame_writing import FlameWriting
from actors.inbox import Answer
from actors.ports import Clock
from actors.timers import TimerService
from flame.control import (
    Beat,
    Bye,
    Connect,
    FromExecutor,
    FromNode,
    Hello,
    Ready,
    Start,
    Stop,
    StopWanted,
    Wire,
    Wired,
)
from flame.ports import NodeSchema
from flame.run.declared import check_declared
from flame.run.wires import wire_of
from protocol.errors import WorkflowError
from protocol.limits import FLAME_NOTES_MAX, FLAME_REASON_CHARS_MAX, FLAME_SHOWN_MS
from protocol.machines.contract import ClearTimer, SetTimer, TimerFired
from protocol.machines.flame_events import (
    Finish,
    Interrupted,
    KillProcess,
    NodeBeat,
    NodeConnected,
    NodeEvent,
    NodeGreeted,
    NodeLeft,
    NodeMeasured,
    NodeWantsStop,
    NodeWired,
    RunBegun,
    RunEffect,
    RunEvent,
    RunLimits,
    RunSafe,
    RunView,
    StartProcess,
    StopOrdered,
    Tell,
)
from protocol.machines.flame_run import NODE_TIMER, FlameRun


class RunProgress(Answer, frozen=True):
    """`beats`: the newest counters of each flame node that has sent some."""

    view: RunView
    beats: dict[str, Any]  # flame.control.Beat


class RunOver(Answer, frozen=True):
    """`run`: its id. The result is on the disk; None: the run was stopped only for now. `fault`: why there is no
    archive, "" when there is one or none was wanted.
    """

    run: str
    result: Any  # flame.run.run_record.RunResult | None
    fault: str = ""


class FlameExecutorActor(SupervisedActor):
    """Executes `run`, whose lock stays with the caller. It owns the processes, and their sockets. `python`: the
    interpreter of its flame nodes.
    """

    def __init__(
        self,
        context: Context,
        run: HeldRun,
        *,
        clock: Clock,
        timers: TimerService,
        watcher: ActorHandle,
        write_archive: WriteArchive,
        limits: RunLimits,
        python: str = sys.executable,
    ) -> None:
        super().__init__(context)
        self._run = run
        self._clock = clock
        self._timers = timers
        self._watcher = watcher
        self._write_archive = write_archive
        self._limits = limits
        self._nodes = {node.name: node for node in run.document.graph.nodes}  # limits.FLAME_NODES_MAX
        self._machine = FlameRun(plans_of(run.document), limits)
        self._programs = FlamePrograms(run, python)
        self._beats: dict[str, Beat] = {}  # limits.FLAME_NODES_MAX
        self._restarts: dict[str, int] = {}  # limits.FLAME_NODES_MAX
        self._notes: dict[str, tuple[str, ...]] = {}  # limits.FLAME_NODES_MAX
        self._shown: RunView | None = None
        self._shown_ns = 0
        self._control: FlameControl | None = None
        self._writing: FlameWriting | None = None

    def begin(self) -> None:
        self._timers.clear_all(self.address)
        self._control = FlameControl(self._run.lock.fileno(), self.address.tell)
        make_shared(self._run.folder, self._control.memory)
        show_sockets(self._run.folder, self._control.folder)
        self._writing = FlameWriting(self._run, self.address.tell)
        self.ready()
        self._step(RunBegun())

    def handle(self, message: Any) -> None:
        match message:
            case NodeSaid():
                if message.node in self._nodes:
                    self._step(self._heard(message.node, message.message))
            case ProgramEnded():
                self._step(self._programs.ended(message))
            case ControlLost(error=error):
                raise error
            case TimerFired():
                self._measure(message.name.removeprefix(NODE_TIMER))
                self._step(message)
            case StopOrdered() | Interrupted():
                self._step(message)
            case WriteAsked():
                self._write(message)
            case _:
                raise NotImplementedError(f"an executor takes no {type(message).__name__}")

    def end(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        """Of processes, sockets and writes. Calling it again does nothing."""
        self._timers.clear_all(self.address)
        if self._control is not None:
            self._control.stop()
            hide_sockets(self._run.folder)
        if self._writing is not None:
            self._writing.close()

    # --- events ----------------------------------------------------------------------------------

    def _step(self, event: RunEvent) -> None:
        for effect in self._machine.step(event, self._clock.now()):
            self._perform(effect)
        self._show()

    def _heard(self, node: str, message: FromNode) -> NodeEvent:
        match message:
            case Hello(schema=schema, pid=pid):
                self._programs.greeted(node, pid)
                return NodeGreeted(node=node, refusal=self._refusal(node, schema))
            case Wired(notes=notes):
                self._note(node, notes)
                return NodeWired(node=node)
            case Ready():
                return NodeConnected(node=node, cpu_ms=self._programs.cpu_ms(node) or 0)
            case Beat():
                self._beats[node] = message
                self._write_again(node, message)
                return NodeBeat(node=node)
            case StopWanted(reason=reason):
                return NodeWantsStop(node=node, reason=reason)
            case Bye(beat=beat, problem=problem):
                self._beats[node] = beat
                return NodeLeft(node=node, problem=problem)
            case _:
                assert_never(message)

    def _write(self, asked: WriteAsked) -> None:
        assert self._control is not None and self._writing is not None
        node = asked.request.node
        written = self._writing.take(asked, has_ended=not self._machine.takes_writes(node))
        if written is not None:
            self._control.send(node, written)

    def _write_again(self, node: str, beat: Beat) -> None:
        """Where a message was lost, since a flame node that computes had no room for it."""
        assert self._control is not None and self._writing is not None
        for written in self._writing.behind(node, beat.written):
            self._control.send(node, written)

    def _refusal(self, node: str, schema: NodeSchema) -> str:
        try:
            check_declared(Path(self._nodes[node].file).name, self._nodes[node].schema, schema)
        except WorkflowError as error:
            return f"{error.code.value}: {error}"
        return ""

    def _note(self, node: str, notes: Iterable[str]) -> None:
        noted = (*self._notes.get(node, ()), *(note[:FLAME_REASON_CHARS_MAX] for note in notes))
        self._notes[node] = noted[:FLAME_NOTES_MAX]

    def _measure(self, node: str) -> None:
        if (computed_ms := self._programs.cpu_ms(node)) is not None:
            self._step(NodeMeasured(node=node, cpu_ms=computed_ms))

    # --- effects ---------------------------------------------------------------------------------

    def _perform(self, effect: RunEffect) -> None:
        assert self._control is not None
        match effect:
            case StartProcess(node=node, restarts=restarts):
                self._restarts[node] = restarts
                self._control.start(node, self._programs.of_node(node, self._control.endpoint))
            case RunSafe(node=node):
                self._control.start(node, self._programs.safe(node))
            case KillProcess(node=node):
                self._control.kill(node)
            case Tell():
                self._control.send(effect.node, self._message(effect))
            case SetTimer():
                self._timers.set(self.address, effect.name, effect.at_ns, effect.generation)
            case ClearTimer():
                self._timers.clear(self.address, effect.name)
            case Finish():
                self._finish(effect)
            case _:
                assert_never(effect)

    def _message(self, effect: Tell) -> FromExecutor:
        match effect.order:
            case "wire":
                return self._wire(effect.node)
            case "connect":
                return Connect()
            case "start":
                return Start()
            case "stop":
                return Stop(reason=effect.reason)
            case _:
                assert_never(effect.order)

    def _wire(self, node: str) -> Wire:
        assert self._control is not None and self._writing is not None
        restarts = self._restarts[node] + self._run.document.resumes
        graph, written = self._run.document.graph, self._writing.newest(node)
        return wire_of(graph, node, self._run.folder, self._control.edge, restarts, written)

    def _finish(self, finish: Finish) -> None:
        """The result first: an archive that cannot be written takes nothing from it."""
        self._let_go()
        self._show()
        if finish.suspended:
            self._watcher.tell(RunOver(run=self._run.document.id, result=None))
            self.stop()
            return
        notes = {node: tuple(self._all_notes(node)) for node in self._nodes}
        result = result_of(self._run, finish, self._machine.snapshot(), self._beats, notes)
        keep_result(self._run.folder, result)
        result, fault = with_archive(self._run.folder, self._run.document, result, self._write_archive)
        self._watcher.tell(RunOver(run=result.id, result=result, fault=fault))
        self.stop()

    def _all_notes(self, node: str) -> Iterable[str]:
        yield from self._notes.get(node, ())
        if self._writing is not None:
            yield from self._writing.notes(node)
        yield from self._programs.about_log(node)

    def _show(self) -> None:
        """Every change of a state at once; counters now and then."""
        view, now_ns = self._machine.snapshot(), self._clock.now().boot_ns
        if view != self._shown or now_ns - self._shown_ns >= FLAME_SHOWN_MS * 1_000_000:
            self._shown, self._shown_ns = view, now_ns
            self._watcher.tell(RunProgress(view=view, beats=dict(self._beats)))
            if self._control is not None:
                show_progress(self._control.folder, progress_of(view, self._beats))
