"""What breaks in nodes, and when: crashes, machines that fall alone, pauses, full disks; and whom operators ban."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, Literal, get_args

from protocol.record import Record

MachineName = Literal["gate", "enrolment", "membership", "scheduler", "worker", "poller"]
MACHINES: Final[tuple[MachineName, ...]] = get_args(MachineName)  # in the order in which a node starts them
_FALLING: Final = MACHINES[:-1]  # the poller, which only clients have, falls with those before it
MACHINE_NAMES: Final[dict[str, MachineName]] = {name: name for name in MACHINES}


class CrashPlan(Record, frozen=True):
    """A stop without warning. With `reboot` the whole machine starts anew, and its boot clock with it.

    `moment`: at that time, or at the next sync of the store after it: before it ends, or after it and before its
    effects.
    """

    at_ms: int
    node: int
    moment: Literal["at once", "before a commit", "after a commit"]
    down_ms: int
    reboot: bool


class FallPlan(Record, frozen=True):
    """One machine of a node raises: it, and all that were started after it, begin anew from their committed rows."""

    at_ms: int
    node: int
    machine: MachineName


class PausePlan(Record, frozen=True):
    """The process of a node stops and goes on, as by SIGSTOP and SIGCONT, or as in suspend: its clocks go on."""

    at_ms: int
    node: int
    length_ms: int


class FullDiskPlan(Record, frozen=True):
    """The store refuses this share of its commits for a while."""

    at_ms: int
    node: int
    length_ms: int
    share: float


class BanPlan(Record, frozen=True):
    """The operator of a node bans another one for a while."""

    at_ms: int
    node: int
    other: int
    length_ms: int


class WavePlan(Record, frozen=True):
    """The network loses, doubles, replays and delays only within waves; a run without any is bad all the time."""

    at_ms: int
    length_ms: int


def draw_crashes(
    rng: Random, nodes: int, delicate: Sequence[tuple[int, int]], start_ms: int, end_ms: int
) -> tuple[CrashPlan, ...]:
    """Half of them at any time, half soon after something delicate: a time and the node where it happens."""
    drawn = []
    for _ in range(rng.choice((0, 1, nodes, 4 * nodes))):
        at_ms, node = rng.randint(start_ms, end_ms), rng.randrange(nodes)
        if delicate and rng.random() < 0.5:
            at_ms, node = rng.choice(delicate)
            at_ms += rng.randint(1, 2_000)
        drawn.append(
            CrashPlan(
                at_ms=at_ms,
                node=node,
                moment=rng.choice(("at once", "before a commit", "after a commit")),
                down_ms=rng.choice((0, 300, 3_000, 20_000)),
                reboot=rng.random() < 0.3,
            )
        )
    return tuple(sorted(drawn, key=lambda crash: (crash.at_ms, crash.node)))


def draw_falls(rng: Random, nodes: int, start_ms: int, end_ms: int) -> tuple[FallPlan, ...]:
    drawn = [
        FallPlan(at_ms=rng.randint(start_ms, end_ms), node=rng.randrange(nodes), machine=rng.choice(_FALLING))
        for _ in range(rng.choice((0, 0, 1, nodes, 3 * nodes)))
    ]
    return tuple(sorted(drawn, key=lambda fall: (fall.at_ms, fall.node)))


def draw_pauses(rng: Random, nodes: int, start_ms: int, end_ms: int) -> tuple[PausePlan, ...]:
    """From a hiccup to longer than the longest lease that is drawn."""
    drawn = [
        PausePlan(
            at_ms=rng.randint(start_ms, end_ms),
            node=rng.randrange(nodes),
            length_ms=rng.choice((50, 1_000, 4_000, 10_000, 25_000)),
        )
        for _ in range(rng.choice((0, 0, 1, nodes, 2 * nodes)))
    ]
    return tuple(sorted(drawn, key=lambda pause: (pause.at_ms, pause.node)))


def draw_full_disks(rng: Random, nodes: int, start_ms: int, end_ms: int) -> tuple[FullDiskPlan, ...]:
    drawn = [
        FullDiskPlan(
            at_ms=rng.randint(start_ms, end_ms),
            node=rng.randrange(nodes),
            length_ms=rng.choice((200, 2_000, 10_000)),
            share=rng.choice((0.2, 1.0)),
        )
        for _ in range(rng.choice((0, 0, 0, 1, nodes)))
    ]
    return tuple(sorted(drawn, key=lambda full: (full.at_ms, full.node)))


def draw_bans(rng: Random, nodes: int, start_ms: int, end_ms: int) -> tuple[BanPlan, ...]:
    drawn = []
    for _ in range(rng.choice((0, 0, 1, nodes))):
        node, other = rng.sample(range(nodes), 2)
        length_ms = rng.choice((200, 5_000, 30_000))
        drawn.append(BanPlan(at_ms=rng.randint(start_ms, end_ms), node=node, other=other, length_ms=length_ms))
    return tuple(sorted(drawn, key=lambda ban: (ban.at_ms, ban.node)))
