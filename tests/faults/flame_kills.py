"""Flame under `kill -9`: of flame nodes that are started again, of whole runs that are resumed, and of nodes that take
their run up again, at random moments.

`python -m tests.faults.flame_kills --nodes 50 --runs 50 --kept 50`
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flame.run.runs import load
from flotta_p2p.demo.fleet import free_ports
from simulations.report import Report
from tests.system.flame.counting import RESTART, check_whole, laboratory
from tests.system.flame.laboratory import Laboratory
from tests.system.jobs import fresh_token
from tests.system.nodes import running_node
from tests.system.processes import wait_until

KILLS_PER_ROUND: Final = 3
VALUES: Final = 500
PAUSE_S: Final = 0.004  # between two values: a round lasts some seconds, most of them the start of processes
END_S: Final = 120.0
_LOOK_S: Final = 0.01


def node_round(folder: Path, chance: random.Random) -> int:
    """Kills flame nodes while the run goes on; the number of kills. Raises AssertionError."""
    lab = laboratory(folder, last=VALUES, pause=PAUSE_S, more=RESTART)
    running = lab.begin("run", "--json")
    kills = 0
    for _ in range(KILLS_PER_ROUND):
        victim = folder / f"{chance.choice(('counter', 'sum'))}.pid"
        if not _appears(victim, running):
            break
        time.sleep(chance.random() * 0.8)
        kills += _kill(victim)
    _check_end(lab, running)
    return kills


def run_round(folder: Path, chance: random.Random) -> int:
    """Kills the executor, and resumes; the number of kills. Raises AssertionError."""
    lab = laboratory(folder, last=VALUES * KILLS_PER_ROUND, pause=PAUSE_S)
    running = lab.begin("run", "--json")
    kills = 0
    for _ in range(KILLS_PER_ROUND):
        started = _appears(folder / "counter.pid", running)
        time.sleep(chance.random() * 2.0)
        if not started or running.poll() is not None or lab.run().result.exists():
            break
        running.kill()
        running.communicate()
        kills += 1
        (folder / "counter.pid").unlink()
        running = lab.begin("resume", "j1", "--json")
    _check_end(lab, running, VALUES * KILLS_PER_ROUND)
    return kills


def kept_round(folder: Path, chance: random.Random) -> int:
    """Kills the node that executes a run; its launcher starts it again. The number of kills. Raises AssertionError."""
    lab = laboratory(folder / "lab", last=VALUES * KILLS_PER_ROUND, pause=PAUSE_S)
    kills = 0
    with running_node(folder / "node", name="Anna", port=free_ports(1)[0], token=fresh_token(), csv_text=None) as node:
        assert lab.type("run", "--background", "--workdir", str(node.workdir)).returncode == 0
        for _ in range(KILLS_PER_ROUND):
            pid = node.node_pid
            time.sleep(chance.random() * 4.0)  # also while it is being taken up
            if lab.run().result.exists():
                break
            os.kill(pid, signal.SIGKILL)
            kills += 1
            node.wait_until(lambda one, dead=pid: one.node_pid != dead)  # type: ignore[misc]
        wait_until(lambda: _archived(lab), END_S)
        node.wait_until(lambda one: one.status()["runs"] == [])
    assert load(lab.run()).document.resumes <= kills
    check_whole(lab.run(), VALUES * KILLS_PER_ROUND)
    return kills


def _archived(lab: Laboratory) -> bool:
    result = load(lab.run()).result
    return result is not None and bool(result.archive)


def _appears(file: Path, running: subprocess.Popen[str]) -> bool:
    """False when the run has ended before."""
    while running.poll() is None:
        if file.exists() and file.read_text():
            return True
        time.sleep(_LOOK_S)
    return False


def _kill(pid_file: Path) -> bool:
    """False when it has ended meanwhile."""
    pid = int(pid_file.read_text())
    pid_file.unlink()
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _check_end(lab: Laboratory, running: subprocess.Popen[str], last: int = VALUES) -> None:
    try:
        out, err = running.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        running.kill()
        raise AssertionError(f"the run did not end within {END_S:g} s") from None
    assert out and json.loads(out).get("end") == "succeeded", out + err
    check_whole(lab.run(), last)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.flame_kills")
    parser.add_argument("--nodes", type=int, default=2, help="rounds in which flame nodes are killed")
    parser.add_argument("--runs", type=int, default=2, help="rounds in which the executor is killed")
    parser.add_argument("--kept", type=int, default=1, help="rounds in which the node that executes a run is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    chance, failures, began_s = random.Random(options.seed), [], time.monotonic()
    parts = (("node", node_round, options.nodes), ("run", run_round, options.runs), ("kept", kept_round, options.kept))
    kills = dict.fromkeys(("node", "run", "kept"), 0)
    for kind, play, rounds in parts:
        for number in range(rounds):
            with tempfile.TemporaryDirectory(prefix="flame-kills-", ignore_cleanup_errors=True) as folder:
                try:
                    kills[kind] += play(Path(folder), chance)
                except AssertionError as error:
                    failures.append(f"{kind} {number} of seed {options.seed}: {error}")
            print(f"{kind} {number + 1} of {rounds}: {kills[kind]} kills", file=sys.stderr, flush=True)
    report = Report(
        part="flame-kills",
        promise="Whichever flame node, executor or node with a run is killed at whatever moment, and started or "
        "resumed: the permanent streams have no gap and no duplicate, and memory fits them.",
        counts={
            "rounds with killed flame nodes": options.nodes,
            "flame nodes killed": kills["node"],
            "rounds with killed executors": options.runs,
            "executors killed": kills["run"],
            "rounds with killed nodes that execute a run": options.kept,
            "nodes killed": kills["kept"],
            "seconds": f"{time.monotonic() - began_s:.0f}",
            "seed": options.seed,
        },
        failures=tuple(failures),
        notes=("A power cut is another thing: what the kernel had been given survives here.",),
    )
    return report.tell(options.report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
