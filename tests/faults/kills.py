"""kill -9 at every fail-point and at random moments, under a stream of jobs: `python -m tests.faults.kills`.

Each worker is a network of its own, which lives through all its kills. What is promised: no acknowledged job is lost,
every result is the true one, no result is accepted twice, no task is taken twice, the audit chain holds, nothing
outlives its node or launcher by 2 s, and no half-written file stays.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from actors.failpoints import Point
from tests.faults.files import kill_a_writer_of_files
from tests.faults.invariants import violations_of_folder, violations_of_jobs
from tests.faults.network import LOOK_S, Broken, Network, expect_gone, kill, network
from tests.faults.report import write_report
from tests.faults.stops import STOPS, stop_and_go_on
from tests.faults.stream import JobStream

HIT_LIMIT_S: Final = 20.0
MOMENT_S: Final = 0.4  # random kills come so long after the last recovery at most; a job takes about half of it
NODE: Final = "flotta_p2p.node_process"
DISCOVERY: Final = "actors.discovery_process"
SCHEDULER_ONLY: Final = (Point.RESOURCES_KEPT, Point.ANSWER_BEFORE)
RANDOM_VICTIMS: Final = ("worker node", "scheduler node", "discovery", "worker launcher", "scheduler launcher")
KINDS_OF_FILE: Final = (Point.FILE_UNNAMED, Point.FILE_NAMED)
IN_LAUNCHER: Final = (Point.SPAWN_BEFORE, Point.SPAWN_AFTER)
IN_CHILD: Final = (Point.TASK_COMPUTED, Point.ANNOUNCE_BEFORE)


@dataclass
class Outcome:
    """What one network has lived through."""

    hits: dict[str, int] = field(default_factory=dict)  # fault → how often it hit
    recoveries_s: list[float] = field(default_factory=list)
    acknowledged: int = 0
    succeeded: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        for fault, count in other.hits.items():
            self.hits[fault] = self.hits.get(fault, 0) + count
        self.recoveries_s += other.recoveries_s
        self.acknowledged += other.acknowledged
        self.succeeded += other.succeeded
        self.refused += other.refused
        self.failures += other.failures


class Killer:
    """Carries out faults in one running network, one after the other, and waits for each recovery."""

    def __init__(self, net: Network, stream: JobStream, outcome: Outcome, seed: int) -> None:
        self._net = net
        self._stream = stream
        self._outcome = outcome
        self._chance = random.Random(seed)

    def carry_out(self, fault: str) -> None:
        """`fault` is a fail-point, one of RANDOM_VICTIMS or one of STOPS."""
        began_s = time.monotonic()
        try:
            what = self._carry_out(fault)
            recovery_s = self._stream.wait_for_a_new_job()
            if recovery_s < 0:
                raise Broken("no new job succeeded afterwards")
            self._outcome.hits[fault] = self._outcome.hits.get(fault, 0) + 1
            self._outcome.recoveries_s.append(recovery_s)
            print(f"{fault} {what}: {time.monotonic() - began_s:.1f} s", flush=True)
        except (Broken, AssertionError) as error:
            self._outcome.failures.append(f"{fault}: {error}")
            print(f"{fault} BROKEN: {error}", flush=True)

    def _carry_out(self, fault: str) -> str:
        worker = self._chance.choice(self._net.names[1:])
        if fault in STOPS:
            return stop_and_go_on(self._net, worker, fault)
        if fault in RANDOM_VICTIMS:
            return self._kill_at_random(fault, worker)
        point = Point(fault)
        if point in KINDS_OF_FILE:
            return kill_a_writer_of_files(self._net, worker, point, self._chance)
        name = self._net.scheduler if point in SCHEDULER_ONLY else self._chance.choice([self._net.scheduler, worker])
        return self._hit(point, name)

    # --- fail-points -----------------------------------------------------------------------------

    def _hit(self, point: Point, name: str) -> str:
        time.sleep(self._chance.uniform(0, MOMENT_S / 4))
        self._net.arm(name, point)
        if point is Point.BOOT_ID_KEPT:
            self._kill_program(name, NODE)
        elif point is Point.ANNOUNCE_BEFORE:
            self._kill_program(name, DISCOVERY)
        seen = self._watch(point, name)
        if point in IN_LAUNCHER:
            expect_gone(lambda: seen, f"after the launcher of {name}")
            self._net.restart_launcher(name)
        elif point not in IN_CHILD:
            expect_gone(lambda: seen, f"after the node of {name}")
        return f"in {name}"

    def _watch(self, point: Point, name: str) -> set[int]:
        """Waits until the point was hit; the processes that the launcher had shortly before."""
        deadline_s = time.monotonic() + HIT_LIMIT_S
        seen: set[int] = set()
        while True:
            now = self._net.processes(name)
            if not self._net.is_armed(name, point):
                return seen
            seen = now or seen
            if time.monotonic() >= deadline_s:
                self._net.disarm(name, point)
                raise Broken(f"in {name} it was not reached within {HIT_LIMIT_S:g} s")
            time.sleep(LOOK_S)

    # --- random moments --------------------------------------------------------------------------

    def _kill_at_random(self, victim: str, worker: str) -> str:
        name = self._net.scheduler if victim.startswith("scheduler") else worker
        pause_s = self._chance.uniform(0, MOMENT_S)
        time.sleep(pause_s)
        if victim == "discovery":
            self._kill_program(name, DISCOVERY)
        elif victim.endswith("node"):
            seen = self._net.processes(name)
            self._kill_program(name, NODE)
            expect_gone(lambda: seen, f"after the node of {name}")
        else:
            seen = self._net.processes(name)
            kill(self._net.launcher_pid(name))
            expect_gone(lambda: seen, f"after the launcher of {name}")
            self._net.restart_launcher(name)
        return f"of {name} after {pause_s * 1000:.0f} ms"

    def _kill_program(self, name: str, program: str) -> None:
        deadline_s = time.monotonic() + HIT_LIMIT_S
        while (pid := self._net.find(name, program)) is None:
            if time.monotonic() >= deadline_s:
                raise Broken(f"{name} has had no process {program} for {HIT_LIMIT_S:g} s")
            time.sleep(LOOK_S)
        kill(pid)


def faults_of(each: int, at_random: int, stops: int, seed: int) -> list[str]:
    """Every fail-point `each` times and the rest, in an order drawn from the seed."""
    chance = random.Random(seed)
    faults = [point.value for point in Point] * each
    faults += [RANDOM_VICTIMS[n % len(RANDOM_VICTIMS)] for n in range(at_random)]
    faults += [STOPS[n % len(STOPS)] for n in range(stops)]
    chance.shuffle(faults)
    return faults


def live_through(folder: Path, faults: Sequence[str], seed: int) -> Outcome:
    """One network, all these faults, and then what must hold."""
    outcome = Outcome()
    try:
        with network(folder) as net:
            with JobStream(net) as stream:
                killer = Killer(net, stream, outcome, seed)
                for fault in faults:
                    killer.carry_out(fault)
            outcome.acknowledged = len(stream.acknowledged)
            outcome.succeeded = len(stream.succeeded)
            outcome.refused = sum(stream.refused.values())
            outcome.failures += stream.failures
            for name in net.names:  # the last fault may have left what only a start takes away
                net.restart_launcher(name)
        outcome.failures += violations(net, stream.acknowledged)
    except Broken as error:
        outcome.failures.append(str(error))
    return outcome


def violations(net: Network, acknowledged: Sequence[bytes]) -> list[str]:
    """Of a network that was stopped."""
    workers = [net.database(name) for name in net.names]
    found = violations_of_jobs(net.database(net.scheduler), workers, acknowledged)
    for name in net.names:
        found += violations_of_folder(net.database(name).parent)
    return found


def live_through_shares(folder: Path, faults: Sequence[str], seed: int, workers: int) -> Outcome:
    """The faults dealt out to so many networks, each in a process of its own."""
    total = Outcome()
    if workers == 1:
        return live_through(folder / "0", faults, seed)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [
            pool.submit(live_through, folder / str(n), list(faults[n::workers]), seed + n) for n in range(workers)
        ]
        for share in shares:
            total.add(share.result())
    return total


def counts_of(outcome: Outcome, seed: int, elapsed_s: float) -> dict[str, int | str]:
    points = [outcome.hits.get(point, 0) for point in Point]
    recoveries = sorted(outcome.recoveries_s) or [0.0]
    return {
        "fail-points": len(points),
        "kills at fail-points": sum(points),
        "fewest kills at one fail-point": min(points),
        "random kills": sum(outcome.hits.get(victim, 0) for victim in RANDOM_VICTIMS),
        "stops longer than a lease": sum(outcome.hits.get(stop, 0) for stop in STOPS),
        "jobs acknowledged": outcome.acknowledged,
        "of these succeeded with the true result": outcome.succeeded,
        "jobs refused before an acknowledgement": outcome.refused,
        "seconds to the next good job, median": f"{recoveries[len(recoveries) // 2]:.1f}",
        "seconds to the next good job, at most": f"{recoveries[-1]:.1f}",
        "seconds": f"{elapsed_s:.0f}",
        "seed": seed,
    }


def main(arguments: Sequence[str], in_folder: Callable[[], tempfile.TemporaryDirectory[str]] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--each", type=int, default=1, help="kills at each fail-point")
    parser.add_argument("--random", type=int, default=10, help="kills at random moments")
    parser.add_argument("--stops", type=int, default=len(STOPS), help="stops longer than a lease")
    parser.add_argument("--workers", type=int, default=1, help="networks at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    faults = faults_of(options.each, options.random, options.stops, options.seed)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flotta-faults-") as folder:
        outcome = live_through_shares(Path(folder), faults, options.seed, options.workers)
    return write_report(
        options.report,
        part="kills",
        promise="Whatever process is killed or stopped at whatever moment: no acknowledged job is lost, no result is "
        "wrong or accepted twice, no process and no half-written file is left, and the next job succeeds.",
        counts=counts_of(outcome, options.seed, time.monotonic() - began_s),
        failures=outcome.failures,
        notes=[
            "A power cut is another thing: what the kernel had been given survives here.",
            "Every operation of the product may run twice; that a `once` operation does not is shown in simulations.",
        ],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
