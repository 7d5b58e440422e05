"""The node that hostile clients attack: started as a person starts it, with a real peer and real jobs between them."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from actors.adapters.control_socket import find_control_path
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import FlottaError
from protocol.ids import parse_id
from protocol.plan.artifact import Artifact
from protocol.record import Record
from tests.system.jobs import client, fresh_token, mean_of, new_order, sees
from tests.system.nodes import RunningNode, running_node

ROWS: Final = 40  # of each of the two holders
CSV: Final = "value\n" + "".join(f"{row}\n" for row in range(ROWS))
MEAN: Final = (ROWS - 1) / 2
JOB_LIMIT_S: Final = 60.0


class Figures(Record, frozen=True):
    """What a process holds: resident bytes, open descriptors, threads."""

    resident_bytes: int
    descriptors: int
    threads: int


class Target:
    """The attacked node and its peer. `pid` is the process that owns the sockets, the tree and the database."""

    def __init__(self, node: RunningNode, peer: RunningNode, token: str) -> None:
        self.node = node
        self.peer = peer
        self.token = token
        self.port = int(node.address.rpartition(":")[2])
        self.control_path = find_control_path(node.workdir)
        self.pid = node.node_pid

    def figures(self) -> Figures:
        folder = Path(f"/proc/{self.pid}")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return Figures(
            resident_bytes=int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            descriptors=sum(1 for _ in (folder / "fd").iterdir()),
            threads=int(fields[17]),
        )

    def descriptors_max(self) -> int:
        soft, _ = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        return soft

    def refused(self) -> dict[str, int]:
        """All that the node counted, by reason: the gate's codes, and what its adapters turned away."""
        status = self.node.status()
        counted: dict[str, int] = dict(status["door"]["refused"])
        counted |= {name: status["door"][name] for name in ("dropped", "refused_connections", "connections_shed")}
        counted["statement clients"] = status["discovery"]["counts"].get("refused_clients", 0)
        return counted

    def restarts(self) -> list[str]:
        """Lines of the log that tell of a failure of our own. What strangers did stands there as a warning."""
        return [line for line in self.node.log_text().splitlines() if " ERROR " in line or "Traceback" in line]


@contextmanager
def target(folder: Path, *, descriptors_max: int | None = None) -> Iterator[Target]:
    """Two nodes that have met. `descriptors_max`: soft and hard limit that the system sets for the attacked one."""
    token = fresh_token()
    ports = free_ports(2)
    wrap = (lambda argv: argv) if descriptors_max is None else limited(descriptors_max)
    with (
        running_node(
            folder / "target", name="Target", port=ports[0], token=token, csv_text=CSV, database=True, wrap=wrap
        ) as node,
        running_node(
            folder / "peer",
            name="Peer",
            port=ports[1],
            token=token,
            csv_text=CSV,
            database=True,
            join=node.address,
        ) as peer,
    ):
        node.wait_until(lambda one: sees(one, 1))
        peer.wait_until(lambda one: sees(one, 1))
        yield Target(node, peer, token)


def limited(descriptors: int) -> Any:
    """Puts a limit of so many descriptors before a command."""
    return lambda argv: ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *argv]


class JobStream:
    """Jobs over both holders, one after the other, each result checked. `with` starts and ends its thread."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._artifact: Artifact = mean_of(target.token, "value")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs")
        self.took_s: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> JobStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            started_s = time.monotonic()
            try:
                self.one_job()
            except (FlottaError, AssertionError) as error:
                self.failures.append(f"job {len(self.took_s)}: {error}")
                self._over.wait(1.0)
            self.took_s.append(time.monotonic() - started_s)

    def one_job(self) -> None:
        prepared = new_order(self._artifact)
        node = self._target.node
        with client(node) as jobs:
            scheduler = parse_id(node.status()["node"])
            jobs.submit(jobs.prove(prepared))
            status = jobs.wait(prepared.job_id, limit_s=JOB_LIMIT_S)
            assert status.state == "succeeded", status.cause
            summary, _ = jobs.result(prepared.job_id, scheduler)
        assert summary.rows == 2 * ROWS, f"{summary.rows} rows, not {2 * ROWS}"
