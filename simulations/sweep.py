"""`python -m simulations sweep`: many seeds, then long runs, over processes; one line now and then, and a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from simulations.options import draw_long_node_count, draw_node_count
from simulations.report import Report
from simulations.running import Case, Ran
from simulations.spread import run_all

LONG_HOURS: Final = 4  # of one long run
PROGRESS_S: Final = 10.0
PROMISE: Final = (
    "Whatever is lost, cut off, paused, crashed or out of step within the stated bounds: no rule of the checkers is "
    "broken, and once the faults end everything comes to rest."
)


class Tally:
    """What a sweep has seen so far."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._started = self._told = time.monotonic()
        self.failed: list[Ran] = []
        self.short = self.long = self.events = self.frames = self.jobs = self.virtual_ms = 0
        self.cpu_s = 0.0

    @property
    def hours(self) -> float:
        return self.virtual_ms / 3_600_000

    def add(self, ran: Ran) -> None:
        if ran.case.hours:
            self.long += 1
        else:
            self.short += 1
        self.events += ran.events
        self.frames += ran.frames
        self.jobs += ran.jobs
        self.virtual_ms += ran.virtual_ms
        self.cpu_s += ran.cpu_s
        if ran.broken:
            self.failed.append(ran)
            self._say(f"BROKEN: {ran.broken}\n  repeat it: {ran.case.command}")
        if time.monotonic() - self._told >= PROGRESS_S:
            self._told = time.monotonic()
            self.tell()

    def tell(self) -> None:
        self._say(
            f"{time.monotonic() - self._started:7.0f} s: {self.short} seeds and {self.long} long runs, "
            f"{self.hours:.1f} simulated hours, {self.events} events, {len(self.failed)} violations"
        )

    def report(self, first: int, *, whole: bool) -> Report:
        counts: dict[str, int | float | str] = {
            "seeds": self.short,
            "first seed": first,
            "simulated hours": round(self.hours, 1),
            "long runs": self.long,
            "violations": len(self.failed),
            "events": self.events,
            "frames": self.frames,
            "jobs": self.jobs,
            "core seconds": round(self.cpu_s),
        }
        notes = [
            "Ed25519 signatures are made for real; of verifications of bytes that the same process signed, one in 64.",
            "Disks that lie about a sync, stolen keys and clocks beyond the tolerance for good are outside the bounds.",
        ]
        failures = [f"{ran.case.command}: {ran.broken}" for ran in self.failed]
        failures += [] if whole else ["the sweep was interrupted; the counts say how far it came"]
        return Report(part="simulator", promise=PROMISE, counts=counts, failures=tuple(failures), notes=tuple(notes))


def sweep(first: int, seeds: int, hours: int, workers: int, report: Path | None, say: Callable[[str], None]) -> bool:
    """Whether every rule held in all that was asked for. An interrupt ends it early, with what was done."""
    tally, whole = Tally(say), False
    try:
        _add_all(tally, (Case(seed, draw_node_count(seed)) for seed in range(first, first + seeds)), workers)
        _add_all(tally, _long_cases(first, hours - tally.hours), workers)
        whole = True
    except KeyboardInterrupt:
        say("interrupted")
    tally.tell()
    done = tally.report(first, whole=whole)
    done.tell(report)
    return done.held


def _add_all(tally: Tally, cases: Iterable[Case], workers: int) -> None:
    for ran in run_all(cases, workers):
        tally.add(ran)


def _long_cases(first: int, hours: float) -> Iterator[Case]:
    """Long runs that together last so many hours, the last one shorter."""
    left, seed = math.ceil(hours), first
    while left > 0:
        yield Case(seed, draw_long_node_count(seed), hours=min(LONG_HOURS, left))
        left, seed = left - LONG_HOURS, seed + 1
