"""Cuts of the network: between pairs or groups, in one direction or in both, steady or flapping."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from protocol.record import Record

HELD: Final = (
    0.3  # of the frames sent into a cut: they come when it is over, as from a socket's buffer; the rest is lost
)


class CutPlan(Record, frozen=True):
    """Nothing gets from `left` to `right`, and with `both_ways` nothing back. With `period_ms` the cut flaps: it is
    there in the first half of each period and gone in the second; 0: steady.
    """

    at_ms: int
    length_ms: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    both_ways: bool
    period_ms: int

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.length_ms

    def cuts(self, sender: int, receiver: int, now_ms: int) -> bool:
        """Whether a frame between these nodes is stopped now."""
        if not self.at_ms <= now_ms < self.end_ms:
            return False
        if self.period_ms and (now_ms - self.at_ms) % self.period_ms >= self.period_ms // 2:
            return False
        forth = sender in self.left and receiver in self.right
        return forth or (self.both_ways and sender in self.right and receiver in self.left)

    def heals_ms(self, now_ms: int) -> int:
        """When what is held now may go on, while it is cut."""
        if not self.period_ms:
            return self.end_ms
        return min(self.end_ms, now_ms - (now_ms - self.at_ms) % self.period_ms + self.period_ms // 2)


def draw_cuts(rng: Random, nodes: int, start_ms: int, end_ms: int) -> tuple[CutPlan, ...]:
    """Some seeds have none; half of the cuts are between two nodes, half split all nodes in two groups."""
    count = rng.choice((0, 0, 1, 3, 2 * nodes))
    cuts = []
    for _ in range(count):
        order = rng.sample(range(nodes), nodes)
        split = rng.randint(1, nodes - 1)
        left, right = (order[:1], order[1:2]) if rng.random() < 0.5 else (order[:split], order[split:])
        cuts.append(
            CutPlan(
                at_ms=rng.randint(start_ms, end_ms),
                length_ms=rng.choice((500, 5_000, 20_000, 40_000)),
                left=tuple(sorted(left)),
                right=tuple(sorted(right)),
                both_ways=rng.random() < 0.5,
                period_ms=rng.choice((0, 0, 300, 2_000, 9_000)),
            )
        )
    return tuple(sorted(cuts, key=lambda cut: (cut.at_ms, cut.left, cut.right)))


class Cuts:
    """All cuts of a run. Time only goes on from question to question."""

    def __init__(self, plans: tuple[CutPlan, ...]) -> None:
        self._later = deque(sorted(plans, key=lambda plan: plan.at_ms))
        self._current: list[CutPlan] = []

    def heals_ms(self, sender: int, receiver: int, now_ms: int) -> int | None:
        """None: the way is free. Else when the last cut on it that holds now lets go."""
        while self._later and self._later[0].at_ms <= now_ms:
            self._current = [plan for plan in self._current if now_ms < plan.end_ms] + [self._later.popleft()]
        held = [plan.heals_ms(now_ms) for plan in self._current if plan.cuts(sender, receiver, now_ms)]
        return max(held, default=None)

    def severed(self, one: int, other: int, now_ms: int) -> bool:
        """Whether nothing new can begin between two nodes: a connection needs both directions."""
        return self.heals_ms(one, other, now_ms) is not None or self.heals_ms(other, one, now_ms) is not None
