"""Mutated bodies through everything that parses what others wrote, and what still reads into the machines.

    python -m tests.fuzz.bodies --count 1000000 --steps 100000 --workers 2

Each batch has its own random source, seeded by (seed, number of the batch), so that a find is repeated by its seed
alone. A reader answers with a value or with the error that it names. What reads is written and read again and must be
the same. `tests.fuzz.steps` says what the machines are given.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

from protocol.limits import KIB, MIB
from simulations import report as proof
from simulations.report import FAILURES_SHOWN_MAX
from tests.fuzz.frames import memory_high_bytes
from tests.fuzz.mutations import Sample, mutate_text, mutate_tree
from tests.fuzz.readers import Reader, all_readers
from tests.fuzz.steps import run_steps

BATCH_BODIES = 2_000
BATCH_STEPS = 2_000
PROGRESS_BATCHES = 20  # between two lines that tell how far the first worker is
GROWTH_BYTES_MAX = 64 * MIB
SLOW_MS_MAX = 25  # of one body up to SMALL_BYTES: a node reads some hundred a second while it does other work
SMALL_BYTES = 64 * KIB
CROWD_EVERY = 1_000  # bodies: one that is nearly as large as its kind may be
TIMED_AGAIN_MS = 5  # a slow one is timed again: something else may have been in its way
TIMED_AGAIN = 3


@dataclass
class Report:
    """`slowest_ms`: of bodies up to SMALL_BYTES, for each reader; `slowest_large_ms`: of larger ones."""

    bodies: int = 0
    values: int = 0
    steps: int = 0
    refused_steps: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    escapes: list[str] = field(default_factory=list)
    slowest_ms: dict[str, float] = field(default_factory=dict)
    slowest_large_ms: float = 0.0
    growth_bytes: int = 0

    def add(self, other: Report) -> None:
        self.bodies += other.bodies
        self.values += other.values
        self.steps += other.steps
        self.refused_steps += other.refused_steps
        self.refusals.update(other.refusals)
        self.escapes = (self.escapes + other.escapes)[:FAILURES_SHOWN_MAX]
        for name, ms in other.slowest_ms.items():
            self.slowest_ms[name] = max(ms, self.slowest_ms.get(name, 0.0))
        self.slowest_large_ms = max(self.slowest_large_ms, other.slowest_large_ms)
        self.growth_bytes = max(self.growth_bytes, other.growth_bytes)


class Fuzzer:
    """One process's readers; making their samples takes a second."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers
        self._weights = [reader.weight for reader in readers]
        self._pool = [sample for reader in readers for sample in reader.samples if sample.values]

    def run_batch(self, seed: int, number: int, bodies: int) -> Report:
        random = Random(f"{seed}/{number}")
        report = Report(bodies=bodies)
        for n, reader in enumerate(random.choices(self._readers, self._weights, k=bodies)):
            sample = random.choice(reader.samples)
            data = self._mutated(random, reader, sample, crowded=n % CROWD_EVERY == 0)
            _try(report, reader, data, f"seed {seed}, batch {number}, body {n}")
        return report

    def _mutated(self, random: Random, reader: Reader, sample: Sample, *, crowded: bool) -> bytes:
        if reader.is_text or not sample.values:
            data = mutate_text(random, sample)
        else:
            data = mutate_tree(random, sample, self._pool)
        if crowded and data:
            start = random.randrange(len(data))
            piece = data[start : start + 1 + random.getrandbits(6)]
            data = data[:start] + piece * ((SMALL_BYTES - len(data)) // max(1, len(piece))) + data[start:]
        return data


def _try(report: Report, reader: Reader, data: bytes, where: str) -> None:
    refusal, escape, ms = _read(reader, data)
    if escape:
        if len(report.escapes) < FAILURES_SHOWN_MAX:
            report.escapes.append(f"{reader.name}: {escape} ({where}): {data[:400].hex()}")
        return
    if refusal:
        report.refusals[refusal] += 1
    else:
        report.values += 1
    if ms > TIMED_AGAIN_MS:
        ms = min([ms, *(_read(reader, data)[2] for _ in range(TIMED_AGAIN))])
    if len(data) > SMALL_BYTES:
        report.slowest_large_ms = max(ms, report.slowest_large_ms)
    else:
        report.slowest_ms[reader.name] = max(ms, report.slowest_ms.get(reader.name, 0.0))


def _read(reader: Reader, data: bytes) -> tuple[str, str, float]:
    """(code of the refusal, what escaped, milliseconds of processor time to read it); the texts empty for a value."""
    before_ns = time.thread_time_ns()
    ms = 0.0
    try:
        try:
            value = reader.read(data)
        finally:
            ms = (time.thread_time_ns() - before_ns) / 1e6
    except reader.errors as error:
        return str(getattr(error, "code", type(error).__name__)), "", ms
    except Exception as error:  # the outermost frame of the fuzzer: whatever comes is a find
        return "", _described(error), ms
    try:
        reader.after(value)
    except Exception as error:
        return "", _described(error), ms
    return "", "", ms


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def _run_share(seed: int, first: int, step: int, bodies: int, steps: int) -> Report:
    """Every `step`-th batch from `first`. Memory counts from the end of the first batches, which fill caches."""
    report = Report()
    fuzzer = Fuzzer(all_readers())
    number, before = first, 0
    while report.bodies < bodies or report.steps < steps:
        if report.bodies < bodies:
            report.add(fuzzer.run_batch(seed, number, min(BATCH_BODIES, bodies - report.bodies)))
        if report.steps < steps:
            _add_steps(report, seed, number, min(BATCH_STEPS, steps - report.steps))
        number += step
        if before == 0:
            gc.collect()
            before = memory_high_bytes()
        if first == 0 and number // step % PROGRESS_BATCHES == 0:
            print(f"  {report.bodies:,} bodies, {report.steps:,} steps in the first worker", flush=True)
    report.growth_bytes = memory_high_bytes() - before
    return report


def _add_steps(report: Report, seed: int, number: int, steps: int) -> None:
    taken, refused, escapes = run_steps(seed, number, steps)
    report.add(Report(steps=taken, refused_steps=refused, escapes=escapes))


def run(count: int, steps: int, seed: int, workers: int) -> Report:
    """Mutate `count` bodies and give the machines `steps` messages; in this process when `workers` is 1."""
    one = partial(_run_share, seed)
    shares = [
        (n, workers, *(total // workers + (n < total % workers) for total in (count, steps))) for n in range(workers)
    ]
    if workers == 1:
        return one(*shares[0])
    report = Report()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(one, *share) for share in shares]:
            report.add(future.result())
    return report


def finding(report: Report, seed: int, seconds: float) -> proof.Report:
    failures = list(report.escapes)
    failures += [
        f"slow: {name} takes {ms:.1f} ms for {SMALL_BYTES // KIB} KiB (seed {seed})"
        for name, ms in report.slowest_ms.items()
        if ms > SLOW_MS_MAX
    ]
    if report.growth_bytes > GROWTH_BYTES_MAX:
        failures.append(f"memory grew by {report.growth_bytes} bytes (seed {seed})")
    slowest = sorted(report.slowest_ms.items(), key=lambda one: one[1], reverse=True)[:5]
    return proof.Report(
        part="mutated bodies",
        promise="Whatever others send is read or refused with the error that is named; no machine raises or breaks.",
        counts={
            "bodies mutated": report.bodies,
            "messages to the machines": report.steps,
            "escapes": len(report.escapes),
            "bodies that still read": report.values,
            "messages that the machines refused": report.refused_steps,
            **{f"refused: {code}": number for code, number in report.refusals.most_common()},
            **{f"slowest: {name}": f"{ms:.1f} ms" for name, ms in slowest},
            "slowest above 64 KiB": f"{report.slowest_large_ms:.1f} ms",
            "memory growth in KiB": report.growth_bytes // KIB,
            "bodies and steps per second": f"{(report.bodies + report.steps) / seconds:.0f}",
            "seed": seed,
        },
        failures=tuple(failures),
        notes=("Without guidance by coverage: mutations of valid samples are drawn from a seed.",),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Send mutated bodies through the decoders and into the machines.")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    report = run(arguments.count, arguments.steps, arguments.seed, arguments.workers)
    return finding(report, arguments.seed, time.monotonic() - started).tell(arguments.report)


if __name__ == "__main__":
    sys.exit(main())
