"""One run as a value: what to run, and what came of it. Both travel between processes."""

from __future__ import annotations

import re
import time
from typing import Final, NamedTuple

from simulations.options import HOUR_MS, Options, draw_long, draw_options
from simulations.plants import PLANTS, Plant
from simulations.products import small_chunks
from simulations.signatures import remembered_signatures
from simulations.trace import Trace
from simulations.world import World

_PARTICULARS: Final = re.compile(r"\b(n\d+|j[a-z2-7]{8}|[0-9a-f]{8,}|[-+]?\d+(\.\d+)?)\b")


class Case(NamedTuple):
    """A seed and what it is drawn for. `hours` 0: a short run; else so many virtual hours."""

    seed: int
    nodes: int
    hours: int = 0
    jobs: int | None = None
    plant: Plant | None = None

    def options(self) -> Options:
        if self.hours:
            return draw_long(self.seed, self.nodes, self.hours)
        return draw_options(self.seed, self.nodes, self.jobs)

    @property
    def command(self) -> str:
        """What repeats it."""
        extras = [f" --hours {self.hours}"] * bool(self.hours) + [f" --jobs {self.jobs}"] * (self.jobs is not None)
        extras += [f" --plant {self.plant}"] * (self.plant is not None)
        return f"python -m simulations run --seed {self.seed} --nodes {self.nodes}" + "".join(extras)


class Ran(NamedTuple):
    case: Case
    broken: str  # empty: every rule held
    digest: str
    virtual_ms: int
    events: int
    frames: int
    jobs: int
    cpu_s: float

    @property
    def virtual_hours(self) -> float:
        return self.virtual_ms / HOUR_MS


def run_options(options: Options, trace: Trace, plant: Plant | None = None, *, calm: bool = True) -> tuple[World, str]:
    """The world at its end, and what was broken, or nothing. Whatever a machine raises is a finding of this run, like
    a broken rule. Without `calm` only the first part is run, in which things break.
    """
    with remembered_signatures(), small_chunks():
        world = World(options, trace, PLANTS[plant] if plant is not None else None)
        try:
            world.run_chaos()
            if calm:
                world.run_calm()
        except Exception as error:  # the outermost frame of the virtual world
            return world, f"{type(error).__name__}: {error}"
    return world, ""


def run_case(case: Case) -> Ran:
    started = time.process_time()
    world, broken = run_options(case.options(), Trace(), case.plant)
    return Ran(
        case=case,
        broken=broken,
        digest=world.trace.digest(),
        virtual_ms=world.now_ms,
        events=world.events,
        frames=world.network.sent,
        jobs=len(world.submitters),
        cpu_s=time.process_time() - started,
    )


def kind_of(broken: str) -> str:
    """The rule that was broken, without the particulars of one run: nodes, jobs, numbers."""
    return _PARTICULARS.sub("#", broken)
