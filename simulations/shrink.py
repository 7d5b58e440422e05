"""Makes a failing run small: takes away jobs, faults, nodes and time as long as the same rule is broken.

Options are data, so a smaller run is only other options. Whatever is taken away changes what chance does afterwards;
a try counts only when it breaks the same rule again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from simulations.options import Options
from simulations.plants import Plant
from simulations.running import kind_of, run_options
from simulations.trace import Trace

LISTS: Final = ("jobs", "crashes", "falls", "pauses", "full_disks", "clock_steps", "cuts", "waves", "bans")
_RATES: Final = ("loss", "duplicates", "replays", "spikes", "task_faults", "task_deaths")


class Shrinker:
    def __init__(self, options: Options, plant: Plant | None, limit_s: float, say: Callable[[str], None]) -> None:
        """`limit_s`: seconds of the processor. Raises ValueError for options under which nothing fails."""
        self._plant = plant
        self._say = say
        self._deadline = time.process_time() + limit_s
        self.tries = 0
        self.options = options
        self._calm = True
        self._kind, self._at_ms = self._broken(options)
        if not self._kind:
            raise ValueError("this run breaks no rule")
        self._calm = self._at_ms >= options.chaos_ms  # what broke before the calm can be looked for without it

    def shrink(self) -> Options:
        """Rounds until one takes nothing away, or the time is over."""
        before = None
        while before != self.options and not self._over():
            before = self.options
            self._try(until(self.options, self._at_ms))
            for name in LISTS:
                self._shorten(name)
            for smaller in self._simpler():
                self._try(smaller)
            self._say(f"{self.tries} tries: {size_of(self.options)}")
        return self.options

    def _shorten(self, name: str) -> None:
        """Delta debugging: leave out ever smaller parts of one list."""
        part = len(getattr(self.options, name))
        while part:
            at = 0
            while at < len(getattr(self.options, name)) and not self._over():
                plans = getattr(self.options, name)
                if not self._try(_changed(self.options, name, plans[:at] + plans[at + part :])):
                    at += part
            part //= 2

    def _simpler(self) -> Iterator[Options]:
        for name in _RATES:
            if getattr(self.options, name):
                yield _changed(self.options, name, 0.0)
        for number in reversed(range(len(self.options.nodes))):
            if len(self.options.nodes) > 2 and number < len(self.options.nodes):
                yield without_node(self.options, number)
        if self.options.chaos_ms > 1:
            yield _changed(self.options, "chaos_ms", self.options.chaos_ms // 2)
        for name in ("pauses", "cuts", "full_disks"):
            yield from self._shorter(name)

    def _shorter(self, name: str) -> Iterator[Options]:
        for at in range(len(getattr(self.options, name))):
            plans = getattr(self.options, name)
            half = msgspec.structs.replace(plans[at], length_ms=max(1, plans[at].length_ms // 2))
            if half != plans[at]:
                yield _changed(self.options, name, (*plans[:at], half, *plans[at + 1 :]))

    def _try(self, smaller: Options) -> bool:
        if self._over() or smaller == self.options:
            return False
        kind, at_ms = self._broken(smaller)
        if kind != self._kind:
            return False
        self.options, self._at_ms = smaller, at_ms
        return True

    def _broken(self, options: Options) -> tuple[str, int]:
        """Which rule, and when."""
        self.tries += 1
        world, broken = run_options(options, Trace(), self._plant, calm=self._calm)
        return kind_of(broken), world.now_ms

    def _over(self) -> bool:
        return time.process_time() >= self._deadline


def size_of(options: Options) -> str:
    lists = ("nodes", *LISTS)
    return ", ".join(f"{len(getattr(options, name))} {name.replace('_', ' ')}" for name in lists)


def until(options: Options, at_ms: int) -> Options:
    """The same run without what would come later; until then chance does the same."""
    kept = {name: tuple(plan for plan in getattr(options, name) if plan.at_ms <= at_ms) for name in LISTS}
    return msgspec.structs.replace(options, **kept, chaos_ms=min(options.chaos_ms, at_ms + 1))


def without_node(options: Options, number: int) -> Options:
    """The same run without one node: what was planned for it goes with it, and those after it move up."""

    def moved(node: int) -> int:
        return node - (node > number)

    changes: dict[str, Any] = {"nodes": options.nodes[:number] + options.nodes[number + 1 :]}
    for name in ("jobs", "crashes", "falls", "pauses", "full_disks", "clock_steps"):
        plans = (plan for plan in getattr(options, name) if plan.node != number)
        changes[name] = tuple(msgspec.structs.replace(plan, node=moved(plan.node)) for plan in plans)
    cuts = []
    for cut in options.cuts:
        left, right = (tuple(moved(node) for node in side if node != number) for side in (cut.left, cut.right))
        if left and right:
            cuts.append(msgspec.structs.replace(cut, left=left, right=right))
    bans = tuple(
        msgspec.structs.replace(ban, node=moved(ban.node), other=moved(ban.other))
        for ban in options.bans
        if number not in (ban.node, ban.other)
    )
    return msgspec.structs.replace(options, **changes, cuts=tuple(cuts), bans=bans)


def _changed(options: Options, name: str, value: object) -> Options:
    return msgspec.structs.replace(options, **{name: value})
