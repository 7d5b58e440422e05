"""What one part of the hostile neighbours found: counts for people, and a line for each thing that broke."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from simulations.report import FAILURES_SHOWN_MAX


@dataclass
class Found:
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)  # measured values that are not counts

    def hold(self, condition: object, sentence: str) -> None:
        if not condition:
            self.fail(sentence)

    def fail(self, sentence: str) -> None:
        self.counts["broken"] += 1
        if len(self.failures) < FAILURES_SHOWN_MAX:
            self.failures.append(sentence)

    def add(self, other: Found) -> None:
        self.counts.update(other.counts)
        self.failures += other.failures
        self.notes += other.notes
        self.figures |= other.figures
