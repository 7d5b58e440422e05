"""What one part of the proof writes down: which promise, what was counted, what broke, what was not covered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FAILURES_SHOWN_MAX = 10  # one is enough to work on


@dataclass(frozen=True)
class Finding:
    """`failures`: one line each, with what reproduces it; empty when the promise held."""

    part: str
    promise: str
    counts: Mapping[str, int | float | str]
    failures: Sequence[str]
    notes: Sequence[str]

    @property
    def held(self) -> bool:
        return not self.failures

    def tell(self, report: Path | None) -> int:
        """Print it, write it to `report` as JSON when that is named, and return the exit code of the part."""
        for label, value in self.counts.items():
            print(f"  {label:40} {value:>12,}" if isinstance(value, int) else f"  {label:40} {value:>12}")
        for failure in self.failures:
            print(f"  FAILED: {failure}")
        print(f"{self.part}: {'held' if self.held else 'BROKEN'}", flush=True)
        if report is not None:
            report.write_text(json.dumps(asdict(self) | {"held": self.held}, indent=2) + "\n")
        return 0 if self.held else 1
