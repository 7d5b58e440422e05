"""Whole programs: the import of the package, and the demo."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from tools.bench.rows import Row, Scale, spread


def imports(scale: Scale) -> Iterator[Row]:
    """Cold start of an interpreter with the package, less that of an empty one."""
    empty = statistics.median(_run_s([sys.executable, "-P", "-c", ""]) for _ in range(scale.repeats))
    package = statistics.median(_run_s([sys.executable, "-P", "-c", "import flotta_p2p"]) for _ in range(scale.repeats))
    import_ms = (package - empty) * 1000
    yield Row("cold import flotta_p2p", f"{import_ms:.0f} ms", "< 150 ms", import_ms < 150)


def demo(scale: Scale) -> Iterator[Row]:
    argv = [sys.executable, "-P", "-m", "flotta_p2p", "demo", "--json"]
    times = [_run_s(argv) for _ in range(min(3, scale.repeats))]
    middle = statistics.median(times)
    yield Row("demo, three nodes from nothing to result and clean-up", spread(times, "s"), "< 10 s", middle < 10)


def _run_s(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    return time.perf_counter() - began
