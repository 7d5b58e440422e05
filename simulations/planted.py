"""`python -m simulations planted`: faults put into the machines on purpose must be found within so many seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from simulations.options import draw_node_count
from simulations.plants import PLANTS, Plant
from simulations.report import Report
from simulations.running import Case, Ran, run_case

PROMISE: Final = (
    "A machine that accepts an old fence, acknowledges before it commits, or skips the replay window is found out, by "
    "seeds that its true form passes."
)


def find(plant: Plant, first: int, seeds_max: int) -> Ran | None:
    """The first seed that breaks a rule with this plant in it and none without."""
    for seed in range(first, first + seeds_max):
        case = Case(seed, draw_node_count(seed), plant=plant)
        ran = run_case(case)
        if ran.broken and not run_case(case._replace(plant=None)).broken:
            return ran
    return None


def planted(first: int, seeds_max: int, report: Path | None, say: Callable[[str], None]) -> bool:
    """Whether each plant was found."""
    counts: dict[str, int | float | str] = {}
    failures = []
    for plant in PLANTS:
        ran = find(plant, first, seeds_max)
        if ran is None:
            failures.append(f"{plant} was not found: python -m simulations planted --first {first}")
            say(f"{plant}: NOT found within {seeds_max} seeds")
            continue
        tried = ran.case.seed - first + 1
        counts[f"{plant}: found by seed"] = f"{ran.case.seed} ({tried} tried), {ran.broken}"
        say(f"{plant}: found by seed {ran.case.seed}, {tried} tried: {ran.broken}\n  repeat it: {ran.case.command}")
    counts |= {"first seed": first, "seeds at most": seeds_max}
    notes = ("The same seeds pass with the true machines.",)
    done = Report(
        part="planted faults",
        promise=PROMISE,
        counts=counts,
        failures=tuple(failures),
        notes=notes,
    )
    done.tell(report)
    return done.held
