"""Hostile neighbours: the proof that they are served with nothing but counters.

    python -m tests.faults.hostile --connections 5000 --report FILE

All traffic goes to nodes that this program starts, on loopback.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from simulations.report import Report
from tests.faults import hostile_replay
from tests.faults.hostile_attack import attack
from tests.faults.hostile_identity import spoof
from tests.faults.hostile_types import confuse
from tests.faults.hostile_zap import matrix
from tests.faults.outcome import Found

PROMISE: Final = (
    "hostile clients cost a node nothing but counters: jobs of real peers succeed, nobody is let in or believed, "
    "memory and descriptors return"
)
NOTES: Final = (
    "clients that break ZMTP before they show a key are hung up on by libzmq, which tells nobody: they are not counted",
    "all attackers share the machine and its two cores with the nodes: the ratio of latencies is theirs as well",
    "a member can still abort a node by guessing a routing id of 32 bits (decision 20)",
    "a member's message without an end costs all who dialled a reconnection (decision 20)",
    "a listener that enforces an empty ZAP domain asks nobody; the node sets one, and its self-test would see it",
)
SMALL_LIMIT: Final = 1_024  # descriptors, the limit of many login shells


def replays(frames: int, over_sockets: int, jobs: int, seed: int) -> Found:
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        recording = hostile_replay.record_run(Path(folder), jobs)
        found.counts["frames recorded"] = len(recording.frames)
        found.add(hostile_replay.control(recording))
        found.add(hostile_replay.replay_machines(recording, frames, seed))
        found.add(hostile_replay.replay_sockets(recording, over_sockets, seed))
    return found


def parts(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Callable[[], Found]]:
    return {
        "type confusion": confuse,
        "spoofing": spoof,
        "ZAP matrix": lambda: matrix(options.attempts),
        "replays": lambda: replays(options.replays, options.replays_over_sockets, options.jobs, options.seed),
        "attack": lambda: attack(options.connections, quiet_s=options.quiet_s, say=say),
        "attack, few descriptors": lambda: attack(
            options.connections, quiet_s=5.0, say=say, with_endless=False, descriptors_max=SMALL_LIMIT
        ),
    }


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Found:
    found = Found()
    for name, part in parts(options, say).items():
        started_s = time.monotonic()
        try:
            one = part()
        except Exception as error:  # the report is written whatever happens
            one = Found()
            one.fail(f"{name} broke off: {error!r}")
        one.figures = {f"{label} ({name})": value for label, value in one.figures.items()}
        found.add(one)
        say(f"{name}: {'held' if not one.failures else 'BROKEN'}, {time.monotonic() - started_s:.0f} s")
    return found


def report(found: Found, seed: int) -> Report:
    return Report(
        part="hostile neighbours",
        promise=PROMISE,
        counts={**found.counts, **found.figures, "seed": seed},
        failures=tuple(found.failures),
        notes=(*NOTES, *found.notes),
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000, help="raw clients to the main port")
    parser.add_argument("--attempts", type=int, default=100, help="of each cell of the ZAP matrix")
    parser.add_argument("--replays", type=int, default=20_000, help="frames through the machines")
    parser.add_argument("--replays-over-sockets", type=int, default=2_000)
    parser.add_argument("--jobs", type=int, default=4, help="in the run that is recorded")
    parser.add_argument("--quiet-s", type=float, default=10.0, help="jobs before the attack, to compare with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=None)
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # ours: thousands of clients are held open
    found = run(options, lambda line: print(line, flush=True))
    return report(found, options.seed).tell(options.report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
