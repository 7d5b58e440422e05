"""Resident and proportional memory of every process of a node. Linux only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flotta_p2p.demo.meeting import Member
from tools.bench.nodes import at_rest, running
from tools.bench.rows import Row, Scale


def memory(scale: Scale) -> Iterator[Row]:
    """One node of three at rest, before its first job, and then with jobs behind it."""
    with running(3) as network:
        at_rest()
        sizes = sizes_mb(network.members[1])
        yield _total("memory of a node at rest, all its processes", sizes, aim=True)
        for program, resident, proportional in sizes:
            yield Row(f"  of it: {program}", _words(resident, proportional))
        for _ in range(scale.repeats):
            network.probe(network.members[1:], tasks=100)
        yield _total("memory of the same node after its probes", sizes_mb(network.members[1]), aim=False)


def sizes_mb(member: Member) -> list[tuple[str, float, float]]:
    """(program, resident, own share) of every process of one node."""
    assert member.holder.launcher is not None
    launcher = member.holder.launcher.pid
    return [(_program(pid), *_sizes_mb(pid)) for pid in (launcher, *_children(launcher))]


def _total(what: str, sizes: list[tuple[str, float, float]], *, aim: bool) -> Row:
    resident, proportional = sum(size[1] for size in sizes), sum(size[2] for size in sizes)
    words = _words(resident, proportional)
    return Row(what, words, "≤ 80 MB", proportional <= 80) if aim else Row(what, words)


def _words(resident: float, proportional: float) -> str:
    return f"{resident:.0f} MB resident, {proportional:.0f} MB own share"


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _program(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return arguments[arguments.index("-m") + 1]


def _sizes_mb(pid: int) -> tuple[float, float]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(lines["Rss"].split()[0]) / 1024, int(lines["Pss"].split()[0]) / 1024
