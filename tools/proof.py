"""`python -m tools proof`: the large counts behind the promises, written to docs/proof.md.

Each part runs in a process of its own.

A part is a module that takes `--report FILE`, shows its progress, ends with 0 (held) or 1 (something broke), and leaves
a Report as JSON. Reports are kept in build/proof/, so that one part can be run anew without the others; the page says
of each when, on which commit and how long it ran.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from simulations.report import Report

ROOT: Final = Path(__file__).parent.parent
_LIBRARIES: Final = ("pyzmq", "pykka", "apsw", "lmdb", "msgpack", "msgspec", "cryptography", "polars", "zeroconf")


class Part(NamedTuple):
    """`arguments`: what follows the interpreter, without `--report FILE`. `minutes_max`: then it is ended."""

    name: str
    arguments: tuple[str, ...]
    minutes_max: int


def _module(name: str, module: str, arguments: str, minutes_max: int) -> Part:
    return Part(name, ("-m", module, *arguments.split()), minutes_max)


SWEEP: Final = "seeds"  # the longest part; it can go on where it was ended
PARTS: Final = (
    _module("power-cut", "tests.faults.power_cut", "--images 2000 --seed 1 --workers 2", 30),
    _module("frames", "tests.fuzz.frames", "--count 10000000 --workers 2", 60),
    _module("bodies", "tests.fuzz.bodies", "--count 1000000 --steps 100000 --workers 2", 60),
    _module("planted-faults", "simulations", "planted --seeds-max 200", 30),
    _module("hostile", "tests.faults.hostile", "--connections 5000 --attempts 1000 --replays 100000", 30),
    _module("handlers", "tests.faults.handlers", "--kinds 2 --workers 1", 60),
    _module("kills", "tests.faults.kills", "--each 20 --random 200 --stops 40 --workers 2", 120),
    _module("flame-kills", "tests.faults.flame_kills", "--nodes 50 --runs 50 --kept 50", 120),
    _module("load", "tools", "bench", 30),
    _module(SWEEP, "simulations", "sweep --seeds 2000 --first 1 --hours 500 --workers 2", 180),
    _module("scale", "tools", "scale --write", 180),
)


class Run(msgspec.Struct):
    """A report, and the circumstances that only the runner knows."""

    report: Report
    command: str
    commit: str
    began: str
    seconds: float
    versions: dict[str, str]
    processors: int


def main(arguments: Sequence[str], parts: Sequence[Part] = PARTS, root: Path = ROOT) -> int:
    """0: every part that was asked for held. 1: one broke. The page is written in both cases."""
    parser = argparse.ArgumentParser(
        prog="python -m tools proof", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=[part.name for part in parts], help="these parts alone")
    parser.add_argument(
        "--page", action="store_true", help="run nothing: write the page from the reports that there are"
    )
    parser.add_argument(
        "--go-on", action="store_true", help="take up the sweep of seeds where it was ended, rather than anew"
    )
    chosen = parser.parse_args(arguments)
    kept = root / "build" / "proof"
    kept.mkdir(parents=True, exist_ok=True)
    wanted = [] if chosen.page else [part for part in parts if not chosen.only or part.name in chosen.only]
    if chosen.go_on:
        wanted = [_going_on(part) if part.name == SWEEP else part for part in wanted]
    held = [_run_and_keep(part, kept, root) for part in wanted]
    (root / "docs" / "proof.md").write_text(page(parts, kept), encoding="utf-8")
    print(f"{sum(held)} of {len(held)} parts held; see docs/proof.md")
    return 0 if all(held) else 1


def _going_on(part: Part) -> Part:
    return part._replace(arguments=(*part.arguments, "--after", f"build/proof/{part.name}.json"))


def _run_and_keep(part: Part, kept: Path, root: Path) -> bool:
    print(f"== {part.name}: at most {part.minutes_max} minutes", flush=True)
    file = kept / f"{part.name}.json"
    raw = kept / f"{part.name}.report"
    raw.unlink(missing_ok=True)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    commit = _commit(root)  # before the run: a part may write pages of its own
    started = time.perf_counter()
    ended = _run([sys.executable, *part.arguments, "--report", str(raw)], part.minutes_max * 60, root)
    run = Run(
        report=_read(part, raw, ended),
        command=" ".join(["python", *part.arguments]),
        commit=commit,
        began=began,
        seconds=round(time.perf_counter() - started, 1),
        processors=os.cpu_count() or 0,
        versions={"Python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    )
    file.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    print(f"== {part.name}: {'held' if run.report.held else 'BROKEN'} after {run.seconds:.0f} s", flush=True)
    return run.report.held


def _run(argv: Sequence[str], limit_s: float, root: Path) -> str:
    """How it ended, in words; "" for exit code 0."""
    try:
        code = subprocess.run(argv, cwd=root, timeout=limit_s, stdin=subprocess.DEVNULL, check=False).returncode
    except subprocess.TimeoutExpired:
        return f"it did not end within {limit_s / 60:g} minutes"
    return f"it ended with exit code {code}" if code else ""


def _read(part: Part, raw: Path, ended: str) -> Report:
    """Its report. One that is missing, malformed, or at odds with the exit code, makes the part broken."""
    try:
        report = msgspec.json.decode(raw.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        silence = f"{ended or 'it ended with exit code 0'} and left no report that reads: {error}"
        return Report(part=part.name, promise="", counts={}, failures=(silence,))
    if ended and report.held:
        return msgspec.structs.replace(report, failures=(ended,))
    return report


def _commit(root: Path) -> str:
    """The commit that was tried; with a word when files differed from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    changed = [line for line in git("status", "--porcelain").splitlines() if not line.endswith("docs/proof.md")]
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if changed else "")


# --- the page ------------------------------------------------------------------------------------


def page(parts: Sequence[Part], kept: Path) -> str:
    """docs/proof.md from the reports that are kept. A part that never ran is listed as such."""
    runs = {part.name: _kept_run(kept / f"{part.name}.json") for part in parts}
    lines = [_HEAD, "| part | held | seconds | commit | began |", "|---|---|---|---|---|"]
    for name, run in runs.items():
        if run is None:
            lines.append(f"| {name} | not run | | | |")
        else:
            held = "yes" if run.report.held else "**no**"
            lines.append(f"| [{name}](#{name}) | {held} | {run.seconds:.0f} | {run.commit} | {run.began} |")
    for name, run in runs.items():
        if run is not None:
            lines += ["", *_section(name, run)]
    return "\n".join(lines) + "\n"


def _kept_run(file: Path) -> Run | None:
    """A report of another version does not read: its part counts as not run."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError):
        return None


def _section(name: str, run: Run) -> list[str]:
    report = run.report
    lines = [f"## {name}", "", report.promise, "", f"`{run.command}`", "", "| what | count |", "|---|---|"]
    lines += [f"| {what} | {_number(count)} |" for what, count in report.counts.items()]
    for title, texts in (("What broke", report.failures), ("What it does not say", report.notes)):
        if texts:
            lines += ["", f"{title}:", "", *(f"- {text}" for text in texts)]
    versions = ", ".join(f"{library} {number}" for library, number in run.versions.items())
    return [*lines, "", f"With {versions}, on {run.processors} processors."]


def _number(count: float | str) -> str:
    return f"{count:,}" if isinstance(count, int | float) else count


_HEAD: Final = """\
# Proof

What was run to find out whether the promises hold, and with what outcome. `make proof` runs all of it and writes
this page; smaller counts of the same parts run in `make test`. A part that did not hold is shown as it ended. Machines
differ: the counts are what matters here, speed stands in [measurements](measurements.md).
"""
