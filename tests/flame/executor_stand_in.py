"""Plays the executor for tests: starts node files as processes, wires them, hears their beats, stops and kills them.

It speaks `flame.control` over `ipc` and nothing else, in the thread of the test: `pump` is where it listens.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

from flame import control
from flame.control import Beat, Bye, Hello, InputEnd, OutputEnd, Ready, StopWanted, Wired
from flame.ports import NodeSchema, Policy

LIMIT_S = 60.0


class Edge(msgspec.Struct, frozen=True):
    """From "node/output" to "node/input". Policy and depth are those of the input where they are not given."""

    source: str
    target: str
    policy: Policy | None = None
    depth: int = 0
    factor: float = 1.0
    offset: float = 0.0


class StandIn:
    """One run. Leaving the block kills what still runs and removes the sockets."""

    def __init__(
        self,
        folder: Path,
        programs: Mapping[str, str | Path],
        edges: Sequence[Edge] = (),
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        stop_when: Mapping[str, Sequence[str]] | None = None,
        writable: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`programs`: text or file of each flame node. `folder` keeps journals and files."""
        self.folder = folder
        self.edges = edges
        self.schemas: dict[str, NodeSchema] = {}
        self.beats: dict[str, Beat] = {}
        self.byes: dict[str, Bye] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.stop_wanted: list[str] = []
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._files = {name: self._file(name, program) for name, program in programs.items()}
        self._parameters = parameters or {}
        self._stop_when = stop_when or {}
        self._writable = writable or {}
        self._written: dict[str, dict[str, control.Written]] = {name: {} for name in programs}
        self._lives = dict.fromkeys(programs, 0)
        self._wired: set[str] = set()
        self._ready: set[str] = set()
        self._started = False
        self.sockets = Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))
        self.shared = Path(tempfile.mkdtemp(prefix="f", dir="/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.ROUTER_HANDOVER, 1)
        self._endpoint = f"ipc://{self.sockets}/control"
        self._socket.bind(self._endpoint)

    def __enter__(self) -> Self:
        for name in self._files:
            self.start(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.communicate()
        self._socket.close()
        self._context.term()
        shutil.rmtree(self.sockets)
        shutil.rmtree(self.shared)

    def start(self, name: str) -> None:
        """Start a flame node, for the first time or anew."""
        environment = {**os.environ, control.ENDPOINT_VARIABLE: self._endpoint, control.NODE_VARIABLE: name}
        self.byes.pop(name, None)
        self._wired.discard(name)
        self._ready.discard(name)
        self.processes[name] = subprocess.Popen(
            [sys.executable, str(self._files[name])],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, name: str) -> None:
        """As a crash: nothing of the program runs any more."""
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self, reason: str = "the test is over") -> None:
        for name, process in self.processes.items():
            if process.poll() is None:
                self._send(name, control.Stop(reason))

    def write(self, name: str, target: str, value: Any, *, tell: bool = True) -> None:
        """As the executor does it for `flame write`. Without `tell` the message is lost."""
        seq = self._written[name][target].seq + 1 if target in self._written[name] else 1
        self._written[name][target] = control.Written(target, value, seq, time.time_ns())
        if tell:
            self._send(name, self._written[name][target])

    def tell_again(self, name: str, target: str) -> None:
        """What was written last."""
        self._send(name, self._written[name][target])

    def sent(self, name: str, output: str) -> int:
        """By its newest beat."""
        return self.beats[name].sent.get(output, 0) if name in self.beats else 0

    def run(self, limit_s: float = LIMIT_S) -> dict[str, int]:
        """Until all programs have ended. Their exit codes."""
        self.pump(lambda: all(process.poll() is not None for process in self.processes.values()), limit_s)
        self.pump(lambda: True)
        return {name: process.wait() for name, process in self.processes.items()}

    def output(self, name: str) -> str:
        """What a program that has ended printed: lines of standard output and error."""
        out, err = self.processes[name].communicate()
        return out + err

    def pump(self, until: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Listen and answer until the condition holds. Fails when it does not within the limit."""
        end = time.monotonic() + limit_s
        while True:
            held = until()
            while self._socket.poll(0 if held else 20):
                name, data = self._socket.recv_multipart()
                self._answer(name.decode(), control.read_from_node(data))
            if held:
                return
            assert time.monotonic() < end, f"the condition did not hold within {limit_s} s: {self._told()}"

    def _told(self) -> str:
        codes = {name: process.poll() for name, process in self.processes.items()}
        ended = {name: self.output(name)[-2_000:] for name, code in codes.items() if code is not None}
        return f"exit codes {codes}, beats {self.beats}, texts {ended}"

    def _answer(self, name: str, message: control.FromNode) -> None:
        match message:
            case Hello(schema=schema):
                self.schemas[name] = schema
                fresh = [name] if self._started else list(self._files) if len(self.schemas) == len(self._files) else []
                for one in fresh:
                    self._send(one, self._wire(one))
                    self._lives[one] += 1
            case Wired(notes=notes):
                self.notes[name] = notes
                self._wired.add(name)
                self._all_of(self._wired, name, control.Connect())
            case Ready():
                self._ready.add(name)
                self._all_of(self._ready, name, control.Start())
                self._started = self._started or len(self._ready) == len(self._files)
            case Beat():
                self.beats[name] = message
            case StopWanted(reason=reason):
                self.stop_wanted.append(reason)
                self.stop(reason)
            case Bye():
                self.byes[name] = message

    def _all_of(self, those: set[str], name: str, answer: control.FromExecutor) -> None:
        if self._started:
            self._send(name, answer)
        elif len(those) == len(self._files):
            for one in self._files:
                self._send(one, answer)

    def _send(self, name: str, message: control.FromExecutor) -> None:
        self._socket.send_multipart([name.encode(), control.encode(message)])

    def _wire(self, name: str) -> control.Wire:
        return control.Wire(
            run="j1",
            inputs=tuple(self._input(place) for place in self._places(target=name)),
            outputs=tuple(self._output(place) for place in self._places(source=name)),
            parameters={
                **self._parameters.get(name, {}),
                **{one.input: one.value for one in self._written[name].values()},
            },
            journal=str(self.journal(name)),
            journalled=tuple(port.name for port in self.schemas[name].outputs if self._is_journalled(name, port.name)),
            shared=str(self.shared),
            stop_when=tuple(self._stop_when.get(name, ())),
            restarts=self._lives[name],
            writable={target: self._stamp(name, target) for target in self._writable.get(name, ())},
        )

    def _stamp(self, name: str, target: str) -> control.WriteStamp:
        written = self._written[name].get(target)
        return control.WriteStamp() if written is None else control.WriteStamp(written.seq, written.time_ns)

    def _places(self, source: str = "", target: str = "") -> list[int]:
        return [
            place
            for place, edge in enumerate(self.edges)
            if edge.source.startswith(f"{source}/") or edge.target.startswith(f"{target}/")
        ]

    def journal(self, name: str) -> Path:
        return self.folder / "nodes" / name

    def _is_journalled(self, name: str, output: str) -> bool:
        port = self.schemas[name].output(output)
        assert port is not None
        spills = (self._policy(edge)[0] == "spill" for edge in self.edges if edge.source == f"{name}/{output}")
        return port.is_journalled or any(spills)

    def _policy(self, edge: Edge) -> tuple[Policy, int]:
        node, name = edge.target.split("/")
        port = self.schemas[node].input(name)
        assert port is not None
        return edge.policy or port.policy, edge.depth or port.depth

    def _input(self, place: int) -> InputEnd:
        edge = self.edges[place]
        node, output = edge.source.split("/")
        policy, depth = self._policy(edge)
        journal = str(self.journal(node)) if self._is_journalled(node, output) else ""
        return InputEnd(
            edge.target.split("/")[1],
            edge.source,
            f"ipc://{self.sockets}/{place}",
            policy,
            depth,
            edge.factor,
            edge.offset,
            journal,
            output,
        )

    def _output(self, place: int) -> OutputEnd:
        edge = self.edges[place]
        policy, depth = self._policy(edge)
        return OutputEnd(edge.source.split("/")[1], edge.target, f"ipc://{self.sockets}/{place}", policy, depth)

    def _file(self, name: str, program: str | Path) -> Path:
        if isinstance(program, Path):
            return program
        path = self.folder / f"{name}.py"
        path.write_text(textwrap.dedent(program), encoding="utf-8")
        return path
