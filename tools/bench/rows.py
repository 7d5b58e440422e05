"""What a part of the bench measures, and how it is written down."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

PAUSE_S: Final = 0.5  # between two jobs: the next spare child has started by then
REST_S: Final = 3.0  # until the children that read the sources at the start have gone home


class Row(NamedTuple):
    """`what` was `measured`; `aim` is what the project wants, and `reached` whether it was, where there is an aim."""

    what: str
    measured: str
    aim: str = ""
    reached: bool | None = None


class Scale(NamedTuple):
    """How much is measured. The defaults take about five minutes on two idle cores."""

    tasks: int = 4_000  # no-op tasks for each number of workers
    repeats: int = 10  # jobs, rounds and frames of one kind
    singles: int = 50  # jobs of one task, for percentiles
    workers: tuple[int, ...] = (1, 2, 4)
    holders: tuple[int, ...] = (3, 10)
    nodes: tuple[int, ...] = (2, 4, 8, 16)
    round_bytes: tuple[int, ...] = (1_000, 10_000_000)
    frames: int = 2_000


def say(sentence: str) -> None:
    """Progress, for people."""
    print(sentence, file=sys.stderr, flush=True)


def spread(seconds: Sequence[float], unit: str) -> str:
    """Median, and in brackets the least and the most."""
    scale = 1000 if unit == "ms" else 1
    middle, low, high = (statistics.median(seconds) * scale, min(seconds) * scale, max(seconds) * scale)
    digits = 0 if unit == "ms" and low >= 10 else 1
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
