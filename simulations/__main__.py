"""`python -m simulations`: run one seed, sweep over many, prove that planted faults are found, shrink a failure."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, get_args

import msgspec

from simulations.describe import describe
from simulations.options import JOBS_MAX, NODES_MAX, Options, draw_node_count
from simulations.planted import planted
from simulations.plants import Plant
from simulations.running import Case, run_case, run_options
from simulations.shrink import Shrinker
from simulations.sweep import sweep
from simulations.trace import HEADER, Trace
from simulations.world import World

_EXAMPLES: Final = """\
examples:
  python -m simulations run --nodes 4 --seed 7           main events, verdict, digest
  python -m simulations run --nodes 4 --seed 7 --trace   every step
  python -m simulations run --nodes 3 --seed 1 --seeds 200
                                                         seeds 1 to 200, one line each
  python -m simulations run --nodes 3 --seed 1 --hours 4 a long run: faults in waves, calm between them
  python -m simulations run --options small.json         what `shrink` has left
  python -m simulations sweep --seeds 2000 --hours 500 --workers 2
                                                         many seeds of 2 to 6 nodes, then long runs
  python -m simulations planted                          are faults found that we put in on purpose?
  python -m simulations shrink --nodes 3 --seed 9 --out small.json
                                                         the smallest run that breaks the same rule

The same arguments give the same trace and the same digest. Exit code 1: a rule was broken."""

_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    held: bool = chosen.command(chosen)
    return 0 if held else 1


def _run(chosen: argparse.Namespace) -> bool:
    case = Case(chosen.seed, chosen.nodes or draw_node_count(chosen.seed), chosen.hours, chosen.jobs, chosen.plant)
    if chosen.options is not None:
        return _show(_read(chosen.options), chosen.plant, everything=chosen.trace)
    if chosen.seeds == 1:
        return _show(case.options(), chosen.plant, everything=chosen.trace)
    seeds = range(chosen.seed, chosen.seed + chosen.seeds)
    failed = [
        seed for seed in seeds if not _brief(case._replace(seed=seed, nodes=chosen.nodes or draw_node_count(seed)))
    ]
    print(f"{chosen.seeds - len(failed)} of {chosen.seeds} seeds passed" + f"; failed: {failed}" * bool(failed))
    return not failed


def _show(options: Options, plant: Plant | None, *, everything: bool) -> bool:
    """One run with its options, its trace and its end."""
    print(f"Python {platform.python_version()}")
    print("\n".join(describe(options)))
    print(HEADER)
    world, broken = run_options(options, Trace(print, everything=everything), plant)
    if broken and not everything:
        print(f"the last steps before it:\n{HEADER}", *world.trace.tail, sep="\n")
    print(_summary(world))
    print(f"digest {world.trace.digest()}")
    print(f"BROKEN: {broken}" if broken else "every rule held")
    return not broken


def _brief(case: Case) -> bool:
    ran = run_case(case)
    verdict = f"BROKEN: {ran.broken}" if ran.broken else "held"
    print(f"seed {case.seed:<8}{ran.cpu_s:6.1f} s  {ran.digest[:16]}  {verdict}", flush=True)
    return not ran.broken


def _sweep(chosen: argparse.Namespace) -> bool:
    return sweep(chosen.first, chosen.seeds, chosen.hours, chosen.workers, chosen.report, _say, chosen.after)


def _planted(chosen: argparse.Namespace) -> bool:
    return planted(chosen.first, chosen.seeds_max, chosen.report, _say)


def _shrink(chosen: argparse.Namespace) -> bool:
    """Whether there was something to shrink."""
    case = Case(chosen.seed, chosen.nodes or draw_node_count(chosen.seed), chosen.hours, chosen.jobs, chosen.plant)
    options = _read(chosen.options) if chosen.options is not None else case.options()
    try:
        shrinker = Shrinker(options, chosen.plant, chosen.limit, _say)
    except ValueError as error:
        print(error)
        return False
    smallest = shrinker.shrink()
    print("\n".join(describe(smallest)))
    if chosen.out is not None:
        chosen.out.write_bytes(msgspec.json.format(msgspec.json.encode(smallest), indent=1))
        plant = f" --plant {chosen.plant}" if chosen.plant else ""
        print(f"repeat it: python -m simulations run --options {chosen.out}{plant}")
    return True


def _read(path: Path) -> Options:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Options)
    except (OSError, msgspec.MsgspecError) as error:
        sys.exit(f"{path} holds no options of a run: {error}")


def _summary(world: World) -> str:
    network, checkers = world.network, world.checkers
    states = [one.status.state if one.status else one.state for one in world.submitters]
    ends = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    return (
        f"{world.now_ns / 1e9:.1f} virtual s, {world.events} events, {world.trace.lines} steps; frames: "
        f"{network.sent} sent, {network.lost} lost, {network.cut} cut, {network.replayed} replayed, "
        f"{checkers.frames_accepted} accepted, {checkers.frames_refused} refused; jobs: {ends or 'none'}"
    )


# --- arguments -------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulations",
        description="Runs the machines of many nodes in virtual time, with faults drawn from one seed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, epilog=_EXAMPLES, formatter_class=parser.formatter_class)

    run = add("run", "run one seed, or several")
    run.set_defaults(command=_run)
    _add_case(run)
    run.add_argument("--seeds", type=_Number(1, 1_000_000), default=1, help="how many seeds from --seed on")
    run.add_argument("--trace", action="store_true", help="show every step, not only the main events")

    many = add("sweep", "many seeds, then long runs")
    many.set_defaults(command=_sweep)
    many.add_argument("--seeds", type=_Number(0, 10_000_000), default=100)
    many.add_argument("--hours", type=_Number(0, 1_000_000), default=0, help="simulated hours in all, at least")
    many.add_argument("--workers", type=_Number(1, 256), default=1, help="processes")
    many.add_argument(
        "--after",
        type=Path,
        default=None,
        help="go on where a sweep ended that the proof keeps: build/proof/seeds.json",
    )

    plant = add("planted", "faults put in on purpose must be found")
    plant.set_defaults(command=_planted)
    plant.add_argument("--seeds-max", type=_Number(1, 100_000), default=200, help="for each of them")
    for one in (many, plant):
        one.add_argument("--first", type=_Number(0, 2**63), default=1, help="the first seed")
        one.add_argument("--report", type=Path, default=None, help="write counts and failures here as JSON")

    shrink = add("shrink", "make a failing run small")
    shrink.set_defaults(command=_shrink)
    _add_case(shrink)
    shrink.add_argument("--limit", type=_Number(1, 100_000), default=120, help="seconds of the processor")
    shrink.add_argument("--out", type=Path, default=None, help="write the smallest options here as JSON")
    return parser


def _add_case(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nodes", type=_Number(2, NODES_MAX), default=None, help=f"2 to {NODES_MAX}; else the seed draws 2 to 6"
    )
    parser.add_argument("--seed", type=_Number(0, 2**63), default=1)
    parser.add_argument("--jobs", type=_Number(0, JOBS_MAX), default=None, help="instead of the seed's own number")
    parser.add_argument("--hours", type=_Number(0, 1_000), default=0, help="a long run of so many virtual hours")
    parser.add_argument("--plant", choices=get_args(Plant), default=None, help="break a machine on purpose")
    parser.add_argument("--options", type=Path, default=None, help="options written by shrink, instead of a seed")


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
