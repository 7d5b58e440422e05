"""Nodes that a person starts by a command, each on a machine of its own: a network namespace where the usual ports are
free.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flotta_p2p.channels import ControlChannel
from protocol.errors import UnreachableError
from protocol.wire.control import AskPeers, AskStatus
from tests.flotta_p2p.commands.lines import Ran, run
from tests.system.netns import Namespace, command_in
from tests.system.nodes import READY_LIMIT_S, STOP_LIMIT_S, descendants


class Started:
    """A node that a person started by a command; `process` is what they would end with Ctrl-C."""

    def __init__(self, machine: Namespace, folder: Path, workdir: Path, process: subprocess.Popen[bytes]) -> None:
        self.machine = machine
        self.folder = folder
        self.workdir = workdir
        self.process = process

    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        return self._report(AskStatus())

    def peers(self) -> dict[str, Any]:
        return self._report(AskPeers())

    def sees(self, *names: str) -> bool:
        """Whether exactly these peers are within reach, each with its sources known."""
        reached = [one["name"] for one in self.peers()["peers"] if one["presence"] == "present" and one["sources"]]
        return sorted(reached) == sorted(names)

    def sockets(self) -> set[str]:
        """The local addresses of the machine at which somebody listens or takes datagrams."""
        shown = subprocess.run(
            command_in(self.machine, ["ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric"]),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return {line.split()[4] for line in shown.stdout.splitlines()}

    def line(self, *words: str) -> Ran:
        return run(self.folder, *words)

    def _report(self, ask: AskStatus | AskPeers) -> dict[str, Any]:
        channel = ControlChannel(self.workdir)
        try:
            values: dict[str, Any] = channel.request(ask).values
            return values
        finally:
            channel.close()


@contextmanager
def started(
    machine: Namespace, folder: Path, workdir: Path, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """`python -m WORDS` in a machine, answering; ended when the block ends."""
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data"), "PWD": str(folder)}
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen(
            command_in(machine, [sys.executable, "-P", "-m", *words]),
            cwd=folder,
            env={**os.environ, **own, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    node = Started(machine, folder, workdir, process)
    try:
        await_status(node)
        yield node
    finally:
        left = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        for pid in (process.pid, *left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(STOP_LIMIT_S)


def await_status(node: Started) -> None:
    deadline_s = time.monotonic() + READY_LIMIT_S
    while True:
        with contextlib.suppress(UnreachableError):
            if all(source and source["state"] == "ready" for source in node.status()["sources"]):
                return
        assert node.process.poll() is None, node.log()
        assert time.monotonic() < deadline_s, node.log()
        time.sleep(0.05)
