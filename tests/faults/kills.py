"""kill -9 at every fail-point and at random moments, under a stream of jobs: `python -m tests.faults.kills`.

Each worker is a network of its own, which lives through all its kills. What is promised: no acknowledged job is lost,
every result is the true one, no result is accepted twice, no task is taken twice, the audit chain holds, nothing
outlives its node or launcher by 2 s, and no half-written file stays.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from actors.failpoints import Point
from protocol.errors import UnreachableError
from simulations.report import Report
from tests.faults.files import kill_a_writer_of_files
from tests.faults.kill_outcome import Outcome, violations
from tests.faults.network import DISCOVERY, LOOK_S, NODE, Broken, Network, expect_gone, kill, network
from tests.faults.stops import STOPS, live_through_stops
from tests.faults.stream import JobStream
from tests.system.jobs import client, mean_of, submit_and_wait

HIT_LIMIT_S: Final = 20.0
MOMENT_S: Final = 0.4  # random kills come so long after the last recovery at most; a job takes about half of it
SCHEDULER_ONLY: Final = (Point.RESOURCES_KEPT, Point.ANSWER_BEFORE, Point.RELEASE_BEFORE)
RANDOM_VICTIMS: Final = ("worker node", "scheduler node", "discovery", "worker launcher", "scheduler launcher")
KINDS_OF_FILE: Final = (Point.FILE_UNNAMED, Point.FILE_NAMED)
OTHER_COLUMN: Final = "bill_length_mm"  # than that of the stream
IN_LAUNCHER: Final = (Point.SPAWN_BEFORE, Point.SPAWN_AFTER)
IN_CHILD: Final = (Point.TASK_COMPUTED, Point.ANNOUNCE_BEFORE)


class Killer:
    """Carries out faults in one running network, one after the other, and waits for each recovery."""

    def __init__(self, net: Network, stream: JobStream, outcome: Outcome, seed: int) -> None:
        self._net = net
        self._stream = stream
        self._outcome = outcome
        self._chance = random.Random(seed)

    def carry_out(self, fault: str) -> None:
        """`fault` is a fail-point or one of RANDOM_VICTIMS."""
        with self._outcome.noting(fault):
            began_s = time.monotonic()
            what = self._carry_out(fault)
            hit_s = time.monotonic()
            self._net.wait_until_whole()
            self._stream.wait_for_a_success()
            now_s = time.monotonic()
            self._outcome.recoveries_s.append(now_s - hit_s)
            self._outcome.hits[fault] += 1
            print(f"{fault} {what}: {now_s - began_s:.1f} s, of these {now_s - hit_s:.1f} to recover", flush=True)

    def _carry_out(self, fault: str) -> str:
        worker = self._chance.choice(self._net.names[1:])
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
        elif point is Point.RELEASE_BEFORE:
            self._remove_a_job(name)
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

    def _remove_a_job(self, name: str) -> None:
        """One of its own, with a result that no job of the stream has: a result that others have too is not removed."""
        job = submit_and_wait(self._net.nodes[name], mean_of(self._net.token, OTHER_COLUMN))
        with client(self._net.nodes[name]) as jobs, contextlib.suppress(UnreachableError):
            jobs.remove(job.job_id)

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
        while not (found := self._net.find(name, program)):
            if time.monotonic() >= deadline_s:
                raise Broken(f"{name} has had no process {program} for {HIT_LIMIT_S:g} s")
            time.sleep(LOOK_S)
        kill(min(found))


def faults_of(each: int, at_random: int, seed: int) -> list[str]:
    """Every fail-point `each` times and `at_random` kills at random moments, in an order drawn from the seed."""
    faults = [point.value for point in Point] * each
    faults += [RANDOM_VICTIMS[n % len(RANDOM_VICTIMS)] for n in range(at_random)]
    random.Random(seed).shuffle(faults)
    return faults


def live_through_kills(folder: Path, faults: Sequence[str], seed: int) -> Outcome:
    """One network, all these faults under a stream of jobs, and then what must hold."""
    outcome = Outcome()
    with outcome.noting("a network under kills"), network(folder) as net:
        with JobStream(net) as stream:
            killer = Killer(net, stream, outcome, seed)
            for fault in faults:
                killer.carry_out(fault)
        outcome.jobs = stream.acknowledged
        outcome.succeeded = len(stream.succeeded)
        outcome.refused = sum(stream.refused.values())
        outcome.failures += stream.failures
        for name in net.names:  # the last fault may have left what only a start takes away
            net.restart_launcher(name)
    outcome.failures += violations(net, outcome.jobs)
    return outcome


def shares_of(folder: Path, faults: Sequence[str], stops: Sequence[str], seed: int, workers: int) -> Outcome:
    """The faults dealt out to so many networks, each in a process of its own; then the stops likewise."""
    total = Outcome()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name, live_through, share in (("kills", live_through_kills, faults), ("stops", live_through_stops, stops)):
            dealt = [list(share[n::workers]) for n in range(workers)]
            futures = [
                pool.submit(live_through, folder / f"{name}-{n}", mine, seed + n)
                for n, mine in enumerate(dealt)
                if mine
            ]
            for future in futures:
                total.add(future.result())
    return total


def counts_of(outcome: Outcome, seed: int, elapsed_s: float) -> dict[str, int | str]:
    points = [outcome.hits[point] for point in Point]
    recoveries_s = sorted(outcome.recoveries_s) or [0.0]
    return {
        "fail-points": len(points),
        "kills at fail-points": sum(points),
        "fewest kills at one fail-point": min(points),
        "random kills": sum(outcome.hits[victim] for victim in RANDOM_VICTIMS),
        "stops longer than a lease": sum(outcome.hits[stop] for stop in STOPS),
        "jobs acknowledged": len(outcome.jobs),
        "of these, in the stream, succeeded with the true result": outcome.succeeded,
        "jobs refused before an acknowledgement": outcome.refused,
        "seconds until all are back and a job has succeeded, median": f"{recoveries_s[len(recoveries_s) // 2]:.1f}",
        "seconds until all are back and a job has succeeded, at most": f"{recoveries_s[-1]:.1f}",
        "seconds": f"{elapsed_s:.0f}",
        "seed": seed,
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--each", type=int, default=1, help="kills at each fail-point")
    parser.add_argument("--random", type=int, default=10, help="kills at random moments")
    parser.add_argument("--stops", type=int, default=len(STOPS), help="stops longer than a lease")
    parser.add_argument("--workers", type=int, default=1, help="networks at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    faults = faults_of(options.each, options.random, options.seed)
    stops = [STOPS[n % len(STOPS)] for n in range(options.stops)]
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flotta-faults-") as folder:
        outcome = shares_of(Path(folder), faults, stops, options.seed, options.workers)
    report = Report(
        part="kills",
        promise="Whatever process is killed or stopped at whatever moment: no acknowledged job is lost, no result is "
        "wrong or accepted twice, no process and no half-written file is left, and the next job succeeds.",
        counts=counts_of(outcome, options.seed, time.monotonic() - began_s),
        failures=tuple(outcome.failures),
        notes=(
            "A power cut is another thing: what the kernel had been given survives here.",
            "The launchers here start a killed node again at once and without end; the product's pause and give up.",
            "Every operation of the product may run twice; what must run once is shown in simulations.",
        ),
    )
    return report.tell(options.report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
