"""Kills whoever writes a key or a token, and looks at what is left."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from actors.adapters.token_files import list_projects
from actors.failpoints import FOLDER_VARIABLE, Point
from flotta_p2p.demo.fleet import free_ports
from tests.faults import launcher
from tests.faults.invariants import temporary_files
from tests.faults.network import Broken, Network
from tests.system.jobs import fresh_token
from tests.system.nodes import running_node

COMMAND_LIMIT_S: Final = 30.0


def kill_a_writer_of_files(net: Network, worker: str, point: Point, chance: random.Random) -> str:
    """Either a node that makes its keys at its first start, or the command that adds a project to a node that runs."""
    if chance.random() < 0.5:
        _first_start(net.folder / f"newcomer-{time.monotonic_ns()}", point)
        return "in a node at its first start"
    _project_add(net, worker, point)
    return f"in `project add` at {worker}"


def _first_start(folder: Path, point: Point) -> None:
    points = folder / "points"
    points.mkdir(parents=True)
    (points / point).touch()
    with running_node(
        folder,
        name="Newcomer",
        port=free_ports(1)[0],
        token=fresh_token(),
        csv_text=None,
        wrap=launcher.argv_of,
        environment={FOLDER_VARIABLE: str(points)},
    ) as node:
        if (points / point).exists():
            raise Broken("a node at its first start did not reach it")
        if "signal 9 ended the node" not in node.log_text():
            raise Broken("the node at its first start was not killed")
        if left := temporary_files(node.workdir):
            raise Broken(f"left after the next start: {[path.name for path in left]}")


def _project_add(net: Network, worker: str, point: Point) -> None:
    workdir, points = net.nodes[worker].workdir, net.points(worker)
    name, token = f"added-{time.monotonic_ns()}", fresh_token()
    net.arm(worker, point)
    killed = _add(workdir, points, name, token)
    if killed != -signal.SIGKILL:
        net.disarm(worker, point)
        raise Broken(f"`project add` did not reach it and ended with {killed}")
    again = _add(workdir, points, name, token)
    kept = dict(list_projects(workdir)).get(name)
    if again != 0 or kept is None or kept.reveal() != token:
        raise Broken(f"`project add` after a kill ended with {again}, and the token is not the one that was given")
    (workdir / "projects" / f"{name}.token").unlink()  # a node holds a bounded number of projects


def _add(workdir: Path, points: Path, name: str, token: str) -> int:
    command = [sys.executable, "-m", "flotta_p2p", "project", "add", name, "--workdir", str(workdir)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(points), FOLDER_VARIABLE: str(points)}
    return subprocess.run(
        command,
        input=token,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    ).returncode
