"""Whole nodes in this process, with real sockets, stores and child processes, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from actors.adapters.processes import DirectSpawner
from flotta_p2p.channels import ControlChannel
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.node import Node
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.programs import CHILD_PROGRAMS
from flotta_p2p.submission import JobClient, prepare_order
from protocol.errors import FlottaError
from protocol.plan.tasks import Summary
from protocol.signing import SigningKey
from protocol.wire.control import AskPeers, AskStatus
from protocol.wire.jobs import JobStatus
from tests.system.nodes import node_yaml
from tests.system.processes import wait_until

TOKEN: Final = "9d41c7f0a2b85e3617dd094c5b8e12fa6073bd2e"
ROWS: Final = 40
CSV: Final = "value,group\n" + "".join(f"{row}.5,{'ab'[row % 2]}\n" for row in range(ROWS))


class RunningNode:
    """A node of this process, and what a person may do with it."""

    def __init__(self, folder: Path, node: Node, fatal: list[FlottaError]) -> None:
        self.folder = folder
        self.workdir = folder / "work"
        self.node = node
        self.fatal = fatal  # why it ended by itself

    @contextmanager
    def control(self) -> Iterator[ControlChannel]:
        channel = ControlChannel(self.workdir)
        try:
            yield channel
        finally:
            channel.close()

    def ask(self, message: Any) -> Any:
        with self.control() as channel:
            return channel.request(message)

    def status(self) -> dict[str, Any]:
        values: dict[str, Any] = self.ask(AskStatus()).values
        return values

    def present(self) -> list[str]:
        """The names of the peers within reach."""
        return [peer["name"] for peer in self.ask(AskPeers()).values["peers"] if peer["presence"] == "present"]

    def run_job(
        self, artifact: Any, *, holders_min: int = 1, limit_s: float = 20.0
    ) -> tuple[JobStatus, Summary | None]:
        """Submits a new order and waits for its end: the last status, and the result when it succeeded."""
        assert self.node.facts is not None
        with self.control() as channel:
            client = JobClient(channel, SystemClock(), lambda seconds: None)
            key = SigningKey(SystemEntropy().bytes(32))
            options = OrderOptions(holders_min=holders_min)
            prepared = prepare_order(artifact, options, key, SystemClock(), SystemEntropy())
            client.submit(client.prove(prepared))
            status = client.wait(prepared.job_id, limit_s=limit_s)
            if status.state != "succeeded":
                return status, None
            result, _ = client.result(prepared.job_id, self.node.facts.node)
            assert isinstance(result, Summary)
            return status, result


def make_node(
    folder: Path,
    *,
    name: str,
    port: int,
    token: str = TOKEN,
    join: str | None = None,
    extra_yaml: str = "",
    node_lines: str = "",
    environ: Mapping[str, str] | None = None,
    on_fatal: Callable[[FlottaError], None] = lambda error: None,
    **options: Any,
) -> Node:
    """A node that is not started yet. Its source has the node's name in lower case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").write_text(CSV)
    file = folder / "node.yaml"
    text = node_yaml(name=name, port=port, token=token, join=join, **options)
    file.write_text(text.replace("node:\n", f"node:\n{node_lines}", 1) + extra_yaml)
    return Node(read_configuration(file, environ or {}), lambda tell: DirectSpawner(CHILD_PROGRAMS, tell), on_fatal)


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[RunningNode]:
    """A started node, stopped when the block ends."""
    fatal: list[FlottaError] = []
    node = make_node(folder, on_fatal=fatal.append, **options)
    node.start()
    try:
        yield RunningNode(folder, node, fatal)
    finally:
        node.stop()


def meet(*nodes: RunningNode) -> None:
    """Wait until each has all others within reach."""
    wait_until(lambda: all(len(one.present()) == len(nodes) - 1 for one in nodes))
