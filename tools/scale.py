"""`python -m tools scale`: how messages, bytes and steps grow with the network, as a table and a plot in docs/scale.md.

The networks live in virtual time (simulations/scale.py). A thousand nodes take minutes, ten thousand the better part of
an hour. What a node has to do must not grow faster than the logarithm of the network.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from simulations.report import Report
from simulations.scale import Count, Growth, measure
from simulations.violation import Violation
from tools.transitions import DOCS, rendered

SIZES: Final = (10, 100, 1_000, 10_000)
SLACK: Final = 1.5  # of a figure of one node, over log2 of the network, from 100 nodes on; below that all know all
_PHASES: Final[tuple[tuple[str, Callable[[Growth], Count]], ...]] = (
    ("meeting", lambda growth: growth.meeting),
    ("a minute at rest", lambda growth: growth.rest),
    ("one job", lambda growth: growth.job),
)
_MEASURES: Final[tuple[tuple[str, Callable[[Count], int]], ...]] = (
    ("messages", lambda count: count.messages),
    ("bytes", lambda count: count.bytes),
    ("steps", lambda count: count.steps),
)


def main(arguments: Sequence[str], docs: Path = DOCS) -> int:
    """0: nothing grew faster than n log n. 1: something did, or a network did not hold together."""
    parser = argparse.ArgumentParser(prog="python -m tools scale", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(SIZES), help="sizes of the networks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--write", action="store_true", help="write docs/scale.md and docs/scale.svg (needs matplotlib)"
    )
    parser.add_argument("--report", type=Path, help="leave a report for the proof there")
    chosen = parser.parse_args(arguments)
    growths: list[Growth] = []
    failures: list[str] = []
    for nodes in chosen.nodes:
        try:
            growths.append(measure(nodes, chosen.seed))
            print(f"{nodes} nodes: {growths[-1].seconds:.0f} s", flush=True)
            if chosen.write:  # after each, since the next one may take an hour
                _write(growths, docs)
        except Violation as violation:
            failures.append(f"{nodes} nodes, seed {chosen.seed}: {violation}")
    failures += too_fast(growths)
    print(table(growths), *failures, sep="\n")
    if chosen.report:
        _report(growths, failures, chosen.seed).write(chosen.report)
    return 1 if failures else 0


def too_fast(growths: Sequence[Growth]) -> list[str]:
    """Figures of the whole network that outgrew n log n, from the smallest network of 100 nodes or more on."""
    large = [growth for growth in growths if growth.nodes >= 100]
    complaints = []
    for phase, count_of in _PHASES:
        for what, figure_of in _MEASURES:
            shares = {one.nodes: figure_of(count_of(one)) / (one.nodes * math.log2(one.nodes)) for one in large}
            base = next(iter(shares.values()), 0.0)
            complaints += [
                f"{what} of {phase} grow faster than n log n: at {nodes} nodes {share / base:.1f} times"
                for nodes, share in shares.items()
                if share > SLACK * base
            ]
    return complaints


def table(growths: Sequence[Growth]) -> str:
    """One row a network: what one node sends and does, on average."""
    head = ["nodes", "peers of a node", *(f"{phase}: {what}" for phase, _ in _PHASES for what, _ in _MEASURES)]
    rows = [
        [
            f"{growth.nodes:,}",
            f"{growth.peers_mean:.0f} (at most {growth.peers_most})",
            *(
                _each(figure_of(count_of(growth)), growth.nodes)
                for _, count_of in _PHASES
                for _, figure_of in _MEASURES
            ),
        ]
        for growth in growths
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _each(figure: int, nodes: int) -> str:
    each = figure / nodes
    return f"{each:,.0f}" if each >= 10 else f"{each:.1f}"


def _report(growths: Sequence[Growth], failures: list[str], seed: int) -> Report:
    counts: dict[str, int | float | str] = {"seed": seed}
    for growth in growths:
        for phase, count_of in _PHASES:
            figures = ", ".join(f"{figure_of(count_of(growth)):,} {what}" for what, figure_of in _MEASURES)
            counts[f"{growth.nodes:,} nodes, {phase}"] = figures
    return Report(
        part="scale",
        promise="In total nothing grows faster than n log n: messages, bytes and steps for meeting, for a minute at "
        "rest, for one job.",
        counts=counts,
        failures=tuple(failures),
        notes=("Signatures are replaced by hashes of their size, and nothing breaks in these runs.",),
    )


def _write(growths: Sequence[Growth], docs: Path) -> None:
    page = docs / "scale.md"
    text = rendered(page.read_text(encoding="utf-8"), "scale", table(growths))
    if text is None:
        raise SystemExit(f"{page} needs one line <!-- scale:begin --> and one line <!-- scale:end --> after it")
    page.write_text(text, encoding="utf-8")
    _plot(growths, docs / "scale.svg")


def _plot(growths: Sequence[Growth], file: Path) -> None:
    """What one node sends against the size of the network; a line that n log n in total would give is dashed."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "flotta-p2p"  # the same figures give the same file
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for at, (what, figure_of) in zip(axes, _MEASURES[:2], strict=True):
        _draw(at, growths, what, figure_of)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _draw(axes: Any, growths: Sequence[Growth], what: str, figure_of: Callable[[Count], int]) -> None:
    sizes = [growth.nodes for growth in growths]
    for phase, count_of in _PHASES:
        each = [figure_of(count_of(growth)) / growth.nodes for growth in growths]
        (line,) = axes.loglog(sizes, each, marker="o", label=phase)
        allowed = [each[0] * math.log2(size) / math.log2(sizes[0]) for size in sizes]
        axes.loglog(sizes, allowed, linestyle="--", linewidth=0.8, color=line.get_color())
    axes.set_xlabel("nodes in the network")
    axes.set_ylabel(f"{what} sent by one node")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
