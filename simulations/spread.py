"""Cases run over processes. Ctrl-C ends all of them at once and leaves what was done until then."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator

from simulations.running import Case, Ran, run_case


def run_all(cases: Iterable[Case], workers: int) -> Iterator[Ran]:
    """As they end, in any order with more than one worker. Raises KeyboardInterrupt in the caller."""
    if workers == 1:
        yield from map(run_case, cases)
        return
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_let_the_parent_be_interrupted) as pool:
        yield from pool.imap_unordered(run_case, cases)


def _let_the_parent_be_interrupted() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
