"""`python -m simulations sweep`: many seeds, then long runs, over processes; one line now and then, and a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

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


INTERRUPTED: Final = "the sweep was interrupted; the counts say how far it came"


class EndedSweep(msgspec.Struct, frozen=True):
    """A sweep that was ended before its time, as the proof keeps it. Another one goes on where it ended."""

    report: Report
    commit: str
    began: str

    @property
    def counts(self) -> Mapping[str, int | float | str]:
        return self.report.counts

    @property
    def failures(self) -> list[str]:
        return [line for line in self.report.failures if line != INTERRUPTED]

    @property
    def note(self) -> str:
        return (
            f"Two sweeps: {self.counts['seeds']:,} seeds, {self.counts['long runs']} long runs and "
            f"{self.counts['simulated hours']} hours ran on {self.commit} from {self.began}, "
            "the rest on the commit above."
        )


class Tally:
    """What a sweep has seen so far."""

    def __init__(self, say: Callable[[str], None], ended: EndedSweep | None = None) -> None:
        self._say = say
        self._started = self._told = time.monotonic()
        self.failed: list[Ran] = []
        self._ended = ended
        counts = ended.counts if ended else {}
        self.short, self.long = int(counts.get("seeds", 0)), int(counts.get("long runs", 0))
        self.events, self.frames, self.jobs = (int(counts.get(what, 0)) for what in ("events", "frames", "jobs"))
        self.virtual_ms = round(float(counts.get("simulated hours", 0)) * 3_600_000)
        self.cpu_s = float(counts.get("core seconds", 0))

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
            "violations": len(self.failed) + (len(self._ended.failures) if self._ended else 0),
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
        if self._ended:
            notes.append(self._ended.note)
            failures += self._ended.failures
        failures += [] if whole else [INTERRUPTED]
        return Report(part="simulator", promise=PROMISE, counts=counts, failures=tuple(failures), notes=tuple(notes))


def sweep(
    first: int,
    seeds: int,
    hours: int,
    workers: int,
    report: Path | None,
    say: Callable[[str], None],
    after: Path | None = None,
) -> bool:
    """Whether every rule held in all that was asked for. An interrupt ends it early, with what was done.

    `after`: what the proof keeps of a sweep that was ended. Its counts are taken over, and what it may have begun is
    left out.
    """
    ended = msgspec.json.decode(after.read_bytes(), type=EndedSweep) if after else None
    tally, whole = Tally(say, ended), False
    begun = workers if ended else 0
    start, long_start = first + tally.short + begun, first + tally.long + begun
    try:
        _add_all(
            tally, (Case(seed, draw_node_count(seed)) for seed in range(start, start + seeds - tally.short)), workers
        )
        _add_all(tally, _long_cases(long_start, hours - tally.hours), workers)
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
