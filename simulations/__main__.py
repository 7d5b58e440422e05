"""`python -m simulations run`: one seed, its trace, and its digest."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from simulations.describe import describe
from simulations.options import JOBS_MAX, NODES_MAX, draw_options
from simulations.trace import HEADER, Trace
from simulations.world import World

_EXAMPLES: Final = """\
examples:
  python -m simulations run --nodes 4 --seed 7           main events, verdict, digest
  python -m simulations run --nodes 4 --seed 7 --trace   every step
  python -m simulations run --nodes 3 --seed 1 --seeds 200
                                                         seeds 1 to 200, one line each
  python -m simulations run --nodes 5 --seed 9 --jobs 50 more submissions than the seed would draw

The same arguments give the same trace and the same digest. Exit code 1: a rule was broken."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m simulations",
        description="Runs the machines of many nodes in virtual time, with faults drawn from one seed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run one seed", epilog=_EXAMPLES, formatter_class=parser.formatter_class)
    run.add_argument("--nodes", type=_Number(2, NODES_MAX), default=4, help=f"2 to {NODES_MAX}")
    run.add_argument("--seed", type=_Number(0, 2**63), default=1)
    run.add_argument("--seeds", type=_Number(1, 1_000_000), default=1, help="how many seeds from --seed on")
    run.add_argument("--jobs", type=_Number(0, JOBS_MAX), default=None, help="instead of the seed's own number")
    run.add_argument("--trace", action="store_true", help="show every step, not only the main events")
    chosen = parser.parse_args(arguments)
    if chosen.seeds == 1:
        return 0 if _show(chosen.seed, chosen.nodes, chosen.jobs, everything=chosen.trace) else 1
    failed = [
        seed for seed in range(chosen.seed, chosen.seed + chosen.seeds) if not _brief(seed, chosen.nodes, chosen.jobs)
    ]
    print(f"{chosen.seeds - len(failed)} of {chosen.seeds} seeds passed" + f"; failed: {failed}" * bool(failed))
    return 1 if failed else 0


def _show(seed: int, nodes: int, jobs: int | None, *, everything: bool) -> bool:
    """One seed with its options, its trace and its end."""
    options = draw_options(seed, nodes, jobs)
    print(f"Python {platform.python_version()}")
    print("\n".join(describe(options)))
    print(HEADER)
    world = World(options, Trace(print, everything=everything))
    broken = _run(world)
    if broken and not everything:
        print(f"the last steps before it:\n{HEADER}", *world.trace.tail, sep="\n")
    print(_summary(world))
    print(f"digest {world.trace.digest()}")
    print(f"BROKEN: {broken}" if broken else "every rule held")
    return not broken


def _brief(seed: int, nodes: int, jobs: int | None) -> bool:
    world = World(draw_options(seed, nodes, jobs), Trace())
    started = time.perf_counter()
    broken = _run(world)
    verdict = f"BROKEN: {broken}" if broken else "held"
    print(f"seed {seed:<8}{time.perf_counter() - started:6.1f} s  {world.trace.digest()[:16]}  {verdict}", flush=True)
    return not broken


def _run(world: World) -> str:
    """What was broken, or nothing. Whatever a machine raises is a finding of this run, like a broken rule."""
    try:
        world.run()
    except Exception as error:  # the outermost frame of the virtual world
        return f"{type(error).__name__}: {error}"
    return ""


def _summary(world: World) -> str:
    network, checkers = world.network, world.checkers
    states = [client.status.state if client.status else client.state for client in world.clients]
    ends = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    return (
        f"{world.now_ns / 1e9:.1f} virtual s, {world.events} events, {world.trace.lines} steps; frames: "
        f"{network.sent} sent, {network.lost} lost, {network.cut} cut, {network.replayed} replayed, "
        f"{checkers.frames_accepted} accepted, {checkers.frames_refused} refused; jobs: {ends or 'none'}"
    )


class _Number:
    """An integer between two bounds, for argparse."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> int:
        value = int(text)
        if not self._low <= value <= self._high:
            raise argparse.ArgumentTypeError(f"{value} is not between {self._low} and {self._high}")
        return value

    def __repr__(self) -> str:
        return "number"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a pipe that reads no further, as of `head`, ends the run
    sys.exit(main())
