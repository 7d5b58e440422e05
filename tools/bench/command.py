"""`python -m tools bench`: how fast and how large, measured on real nodes of this machine.

Machines differ and are noisy: read ratios of one run, not digits of two. Aims are those of the project's product
description.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from simulations.report import Report
from tools.bench.frames import frames
from tools.bench.growth import growth
from tools.bench.jobs import summaries
from tools.bench.memory import memory
from tools.bench.programs import demo, imports
from tools.bench.rounds import rounds
from tools.bench.rows import Row, Scale, say
from tools.bench.tasks import AIM_PER_S, latency, tasks

PROMISE: Final = f">= {AIM_PER_S:,} signed no-op tasks per second, or the profile that says what stands against it"
PROFILE: Final = "where the time of a task goes, and what stands against the aim: docs/measurements.md"
PARTS: Final[dict[str, Callable[[Scale], Iterator[Row]]]] = {
    "import": imports,
    "frames": frames,
    "tasks": tasks,
    "latency": latency,
    "rounds": rounds,
    "summaries": summaries,
    "memory": memory,
    "growth": growth,
    "demo": demo,
}


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    scale = Scale(
        tasks=options.tasks,
        repeats=options.repeats,
        singles=options.singles,
        workers=tuple(options.workers),
        holders=tuple(options.holders),
        nodes=tuple(options.nodes),
        round_bytes=tuple(options.round_bytes),
        frames=options.frames,
    )
    rows: list[Row] = []
    failures: list[str] = []
    for name in options.only or PARTS:
        say(f"{name} …")
        try:
            rows += PARTS[name](scale)
        except Exception as error:  # the outermost frame of one part; the others still count
            failures.append(f"{name}: {error!r}; repeat it with: python -m tools bench --only {name}")
            say(f"  {failures[-1]}")
    _show(rows, as_json=options.json)
    done = report(rows, failures)
    if options.report is not None:
        done.write(options.report)
    return 0 if done.held else 1


def report(rows: list[Row], failures: list[str]) -> Report:
    """A part of the proof. A missed aim is no failure, but it is said."""
    missed = [f"missed: {row.what}: {row.measured}, aim {row.aim}" for row in rows if row.reached is False]
    return Report(
        part="load",
        promise=PROMISE,
        counts={row.what.strip(): row.measured for row in rows},
        failures=tuple(failures),
        notes=(*missed, *([PROFILE] if missed else []), f"{os.cpu_count()} processors, {platform.platform()}"),
    )


def _parser() -> argparse.ArgumentParser:
    default = Scale()
    parser = argparse.ArgumentParser(
        prog="python -m tools bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was measured as a part of the proof")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure these parts alone")
    for name, what in (
        ("tasks", "no-op tasks for each number of workers"),
        ("repeats", "jobs, rounds and imports of one kind"),
        ("singles", "jobs of one task, for percentiles"),
        ("frames", "frames of one size"),
    ):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name), help=what)
    for name, what in (
        ("workers", "worker nodes that share the no-op tasks"),
        ("holders", "holders in a round"),
        ("nodes", "nodes that meet"),
        ("round-bytes", "bytes of each holder in a round"),
    ):
        values = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, nargs="+", default=values, help=what)
    return parser


def _show(rows: list[Row], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
        return
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        missed = ", missed" if row.reached is False else ""
        print(f"{row.what:{width}}  {row.measured:28}  {row.aim}{missed}")
