"""Real nodes in temporary folders: the launcher, the node and its children, exactly as `flotta-p2p up` starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flotta_p2p.channels import ControlChannel
from flotta_p2p.programs import launcher_argv
from protocol.errors import UnreachableError
from protocol.wire.control import AskPeers, AskStatus, Report
from tests.system.processes import is_alive

READY_LIMIT_S: Final = 20.0
STOP_LIMIT_S: Final = 15.0


class RunningNode:
    """A node of its own. `process` is the launcher; not for more than one thread."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.folder = folder
        self.workdir = folder / "work"
        self.config = folder / "node.yaml"
        self.address = f"127.0.0.1:{port}"
        self.process = process

    def log_text(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    def control(self) -> ControlChannel:
        """A new channel; the caller closes it. Raises UnreachableError when the node does not run."""
        return ControlChannel(self.workdir)

    def status(self) -> dict[str, Any]:
        return self._report(AskStatus())

    def peers(self) -> dict[str, Any]:
        return self._report(AskPeers())

    def wait_until(self, predicate: Callable[[RunningNode], object], limit_s: float = READY_LIMIT_S) -> None:
        """Returns once `predicate(node)` is true; a node that does not answer is asked again.

        AssertionError with the node's log when the limit has passed or the launcher has ended.
        """
        deadline = time.monotonic() + limit_s
        while True:
            with contextlib.suppress(UnreachableError):
                if predicate(self):
                    return
            assert self.process.poll() is None, f"the node ended with {self.process.returncode}:\n{self.log_text()}"
            assert time.monotonic() < deadline, f"not within {limit_s} s; the node's log:\n{self.log_text()}"
            time.sleep(0.02)

    @property
    def node_pid(self) -> int:
        return int(self.status()["pid"])

    @property
    def child_pids(self) -> tuple[int, ...]:
        """Children that the launcher keeps for the node: those that compute, and discovery."""
        node = self.node_pid
        return tuple(pid for pid in descendants(self.process.pid) if pid != node)

    def all_pids(self) -> tuple[int, ...]:
        """The launcher and everything below it."""
        return (self.process.pid, *descendants(self.process.pid))

    def stop(self) -> int:
        """SIGTERM and wait; the exit code. What has not ended within STOP_LIMIT_S is killed, and that is an error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the node did not stop within {STOP_LIMIT_S} s:\n{self.log_text()}") from None

    def kill(self) -> None:
        """SIGKILL to the launcher; node and children die with it, soon after this returns."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def _report(self, ask: AskStatus | AskPeers) -> dict[str, Any]:
        channel = self.control()
        try:
            report: Report = channel.request(ask)
            return report.values
        finally:
            channel.close()


@contextmanager
def running_node(
    folder: Path,
    *,
    name: str,
    port: int,
    token: str,
    csv_text: str | None,
    project: str = "penguins",
    extra_yaml: str = "",
    node_yaml_lines: str = "",
    settings_yaml_lines: str = "",
    database: bool = False,
    interface: str = "127.0.0.1",
    discovery: bool = False,
    join: str | None = None,
    mode: str = "node",
    proxy: str = "",
    wrap: Callable[[list[str]], list[str]] = lambda argv: argv,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningNode]:
    """A node in `folder` that answers at its control socket; gone, with all its children, when the block ends.

    Its source, if there is one, has the node's name in lower case. `extra_yaml` stands at the end of the file, after
    `datasources`; `node_yaml_lines` under `node`, `settings_yaml_lines` likewise. `wrap` may put a command before the
    launcher's, such as `ip netns exec NAME`. The same folder again is the same node started again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = node_yaml(
        name=name,
        port=port,
        token=token,
        project=project,
        source=csv_text is not None,
        database=database,
        interface=interface,
        discovery=discovery,
        join=join,
        mode=mode,
        proxy=proxy,
    )
    text = text.replace("node:\n", f"node:\n{node_yaml_lines}", 1)
    text = text.replace("settings:\n", f"settings:\n{settings_yaml_lines}", 1)
    (folder / "node.yaml").write_text(text + extra_yaml)
    if csv_text is not None:
        (folder / "table.csv").write_text(csv_text)
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(
            wrap(launcher_argv(folder / "node.yaml")),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    node = RunningNode(folder, process, port)
    try:
        node.wait_until(lambda one: one.status())
        yield node
    finally:
        _clean_up(process)


def node_yaml(
    *,
    name: str,
    port: int,
    token: str,
    project: str = "penguins",
    source: bool = True,
    database: bool = False,
    interface: str = "127.0.0.1",
    discovery: bool = False,
    join: str | None = None,
    mode: str = "node",
    proxy: str = "",
) -> str:
    """The configuration file of a node whose table is `table.csv` beside it."""
    listening = [f"  interface: {interface}", f"  port: {port}"]
    lines = [
        "workdir: ./work",
        f"mode: {mode}",
        "node:",
        f"  name: {name}",
        *(listening if mode == "node" else []),
        "  token_projects_initial:",
        f"    - name: {project}",
        f"      token: {token}",
    ]
    if join is not None:
        lines += ["join:", "  first: false", f"  url: {join}"]
    elif not discovery:
        lines += ["join:", "  first: true"]
    lines += ["settings:", f"  discovery: {str(discovery).lower()}", *([f"  proxy: {proxy}"] if proxy else [])]
    if database:
        lines += ["database:", "  host: ./work/jobs.sqlite"]
    if source:
        lines += ["datasources:", f"  - name: {name.lower()}", "    type: csv", "    path: table.csv"]
        lines += [f"    token: [{project}]"]
    return "\n".join(lines) + "\n"


def descendants(pid: int) -> tuple[int, ...]:
    """The living processes below `pid`, parents before children."""
    parents = _parents()
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return tuple(one for one in found[1:] if is_alive(one))


def _parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _clean_up(process: subprocess.Popen[bytes]) -> None:
    left = [process.pid, *descendants(process.pid)] if process.poll() is None else []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
    for pid in left:
        if is_alive(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(STOP_LIMIT_S)
