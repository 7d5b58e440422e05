"""A flame node: a small program with named inputs and outputs.

    node = flame.Node("DriftLock", "Keeps a laser on the beat note")
    trace = node.inputs.flow("trace", "f8[2048]", unit="V")
    beat = node.outputs.permanent("beat", float, unit="MHz")
    memory = node.memory(integral=0.0)
    node.register()
    with node.dry_run() as dry:
        dry.feed(trace, [...])
        dry.expect(beat, near=80.0, within=0.5)
    for record in trace:
        node.outputs.set(beat=estimate(record.value), time=record.time)

Within a run the executor starts the file and tells it by the environment where it is; alone, the same file writes its
schema and runs on the data of its dry run.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from flame import control
from flame.library import memory as remembering
from flame.library import program
from flame.library.dry_run import DryOutlet, DryRun
from flame.library.inputs import Input, Inputs
from flame.library.memory import Memory
from flame.library.outputs import Outputs
from flame.library.stopping import StopFlag, Stopped
from flame.limits import SLICE_MS
from flame.ports import NodeSchema
from protocol.errors import Code, WorkflowError

if TYPE_CHECKING:
    from flame.library.joining import Joined

_FORKED: Final = "in a process that this program forked; let that process give its results back"
SCHEMA_FOLDER: Final = "schema"


class Node:
    """One flame node. Several may live in one process, where it runs alone.

    `with node:` ends it with the block; else it ends with the program. Within the block `Stopped` ends the block
    alone, so that what stands below it runs.
    """

    def __init__(self, name: str, description: str = "", *, icon: str = "") -> None:
        """`name`: of the kind, a Python class name. Raises WorkflowError(NODE_FILE_WRONG)."""
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
            raise WorkflowError(
                Code.NODE_FILE_WRONG,
                f"{name!r} is no name of a kind of flame node",
                next_step='write a name as of a Python class, such as "DriftLock"',
            )
        program.watch()
        self.name: Final = name
        self.inputs: Final = Inputs()
        self.outputs: Final = Outputs()
        self._description = description
        self._icon = icon
        self._file = _file_of_caller()
        self._safe = ""
        self._memory: Memory | None = None
        self._stop = StopFlag()
        self._joined: Joined | None = None
        self._dry: DryRun | None = None
        self._is_open = False

    # --- declarations --------------------------------------------------------------------------

    def memory(self, **initial: Any) -> Memory:
        """What this flame node remembers over a restart, with its first values. Once, before `register`."""
        self._check_not_registered("node.memory(…)")
        if self._memory is not None:
            raise self._wrong("node.memory(…) is called twice", "name all that is remembered in one call")
        self._memory = Memory(initial)
        remembering.changed(self._memory)  # refuses what could not be kept, here rather than in the middle of a run
        self._memory = Memory(initial)
        return self._memory

    def safe(self, file: str | os.PathLike[str]) -> None:
        """Name the program that brings the hardware into a safe state: run when this one did not end in order."""
        self._check_not_registered("node.safe(…)")
        path = self._file.parent / file
        if not path.is_file():
            raise self._wrong(f"the safe program {str(file)!r} is not beside {self._file.name}", "write its file name")
        self._safe = str(file)

    @property
    def schema(self) -> NodeSchema:
        return NodeSchema(
            self.name,
            self._file.name,
            tuple(handle.port for handle in self.inputs.all.values()),
            tuple(output.port for output in self.outputs.all.values()),
            () if self._memory is None else remembering.names(self._memory),
            self._description,
            self._icon,
            self._safe,
        )

    # --- the life of it ------------------------------------------------------------------------

    def register(self) -> None:
        """The declarations are complete. Within a run: returns when all flame nodes are ready, or raises Stopped.

        Alone: writes `schema/<Name>.json` beside the file. Called by `flame.authoring.describing`: the program ends.
        """
        self._check_not_registered("node.register()")
        described, endpoint = os.environ.get(control.DESCRIBE_VARIABLE), os.environ.get(control.ENDPOINT_VARIABLE)
        self.inputs.is_closed = self.outputs.is_closed = True
        if described:
            Path(described).write_bytes(msgspec.json.encode(self.schema))
            _end_now(0)
        self._is_open = True
        atexit.register(self._at_exit)
        os.register_at_fork(after_in_child=self._forked)
        if endpoint:
            self._join(endpoint)
        else:
            self._stand_alone()

    def dry_run(self) -> DryRun:
        """Feed data and name expectations, for when the file runs alone; within a run it does nothing."""
        if not self._is_open:
            raise self._wrong("node.dry_run() stands before node.register()", "move it below")
        return self._dry if self._dry is not None else DryRun(is_alone=False)

    @property
    def active(self) -> bool:
        """False when the run stops, or when the data of a dry run are used up."""
        return not self._stop.is_set and (self._dry is None or self._dry.has_data)

    def stop_workflow(self, reason: str) -> None:
        """Ask for the end of the whole run, in order. The reason stands in its result."""
        if self._joined is not None:
            self._joined.ask_stop(reason)
        else:
            self._stop.set(reason)

    def every(self, seconds: float) -> Iterator[int]:
        """A clock that does not drift: its ticks, counted from 0, until the run stops. A tick that comes too late is
        left out. A dry run does not wait: it ticks once, and again as long as the ticks take data that were fed.
        """
        if not 0 < seconds < math.inf:
            raise self._wrong(f"node.every({seconds!r}) is no interval", "give seconds, more than 0")
        if self._dry is not None:
            for tick in self._dry.ticks():
                if self._stop.is_set:
                    return
                yield tick
            return
        began, tick = time.monotonic(), 0
        while self.active:
            yield tick
            tick = max(tick + 1, int((time.monotonic() - began) / seconds))
            if self._stop.wait(max(0.0, began + tick * seconds - time.monotonic())):
                return

    def select(self, *inputs: Input[Any], timeout: float | None = None) -> tuple[Input[Any], ...]:
        """Those of `inputs` that have a value not got yet; waits for the first. Empty after `timeout` seconds.

        Takes no value away. Raises Stopped when the run stops or none of them will get a value any more.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                ready = tuple(handle for handle in inputs if handle.updated())
                if ready:
                    return ready
                self._stop.check()
                if all(handle.source.is_ended for handle in inputs):
                    raise Stopped("no input will get a value any more")
                left_s = SLICE_MS / 1e3 if until is None else min(SLICE_MS / 1e3, until - time.monotonic())
                if left_s <= 0:
                    return ()
                self._note_waiting(inputs)
                self._wait(inputs, left_s)
        finally:
            self._note_waiting(())

    def close(self) -> None:
        """The program is done with this flame node: what was set goes out, and the executor is told. Once."""
        self._close(program.problem())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        is_quiet = error is None or isinstance(error, Stopped) or (isinstance(error, SystemExit) and not error.code)
        self._close("" if is_quiet or error is None else program.described(error))
        return isinstance(error, Stopped)

    # --- how it is done ------------------------------------------------------------------------

    def _join(self, endpoint: str) -> None:
        from flame.library.joining import Joined
        from flame.library.parent import adopt_parent_death

        adopt_parent_death()
        name = os.environ.get(control.NODE_VARIABLE, self.name)
        self._joined = Joined(endpoint, name, self.schema, self._stop)
        self.outputs.join(self._joined.start(self.inputs.all, self.outputs.all, self._memory))

    def _stand_alone(self) -> None:
        with contextlib.suppress(OSError):  # a dry run needs no folder that may be written
            self._write_schema()
        self._dry = DryRun(is_alone=True)
        for handle in self.inputs.all.values():
            self._dry.join(handle, self._stop)
        if saved := os.environ.get(control.DRY_FROM_VARIABLE):
            self._dry.feed_saved(saved)
        self.outputs.join(DryOutlet())

    def _write_schema(self) -> None:
        folder = self._file.parent / SCHEMA_FOLDER
        folder.mkdir(exist_ok=True)
        fresh = folder / f"{self.name}.json.{os.getpid()}"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self.schema), indent=2) + b"\n")
        fresh.replace(folder / f"{self.name}.json")

    def _note_waiting(self, inputs: tuple[Input[Any], ...]) -> None:
        if self._joined is not None and self._joined.selecting.keys() != set(inputs):
            self._joined.selecting = dict.fromkeys(inputs, time.monotonic())

    def _wait(self, inputs: tuple[Input[Any], ...], limit_s: float) -> None:
        pollable = [what for handle in inputs if (what := handle.source.pollable) is not None]
        if not pollable:
            self._stop.wait(limit_s)
            return
        import zmq

        poller = zmq.Poller()
        for what in pollable:
            poller.register(what, zmq.POLLIN)
        poller.poll(math.ceil(limit_s * 1e3))

    def _at_exit(self) -> None:
        self._close(program.problem())
        if self._dry is not None and not program.problem() and self._dry.complaints():
            _end_now(1)

    def _close(self, problem: str) -> None:
        if not self._is_open:
            return
        self._is_open = False
        for handle in self.inputs.all.values():
            handle.close()
        self.outputs.close()
        if self._joined is not None:
            self._joined.close(problem)
            atexit.unregister(self._at_exit)
        elif self._dry is not None and not problem:
            for complaint in self._dry.complaints():
                print(f"{self._file.name}: {complaint}.", file=sys.stderr)
            if not self._dry.complaints():
                print(f"{self.name}: {self._dry.summary(self.outputs.all.values())}")

    def _forked(self) -> None:
        """A process that the program forked has this flame node's journal and sockets too: two writers, and what was
        set is torn.
        """
        if self._is_open:
            self._is_open = False
            for handle in self.inputs.all.values():
                handle.close(_FORKED)
            self.outputs.close(_FORKED)

    def _check_not_registered(self, what: str) -> None:
        if self._is_open or self._joined is not None or self._dry is not None:
            raise self._wrong(f"{what} stands after node.register()", "move it before")

    def _wrong(self, sentence: str, next_step: str) -> WorkflowError:
        return WorkflowError(Code.NODE_FILE_WRONG, sentence, next_step=next_step)


def _file_of_caller() -> Path:
    """The first file outside of this package, from here up. In a notebook: a name in the current folder."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("flame."):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename).absolute()
    return path if path.is_file() else Path.cwd() / "notebook.py"


def _end_now(code: int) -> None:
    """The exit code of a program can only be set so once it has ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
