"""The form in which a part of the proof says what it has found: the sweeps here, and those of tests and tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

FAILURES_SHOWN_MAX: Final = 20  # one is enough to work on


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`failures`: one line each, with what reproduces it; empty when the promise held."""

    part: str
    promise: str  # one sentence: what must hold
    counts: Mapping[str, int | float | str]  # in order of interest; with the seeds that were used
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was not covered

    @property
    def held(self) -> bool:
        return not self.failures

    def tell(self, file: Path | None) -> int:
        """Prints it, writes it to `file` if there is one, and returns the exit code: 0 held, 1 something broke."""
        for label, count in self.counts.items():
            print(f"  {label}: {count:,}" if isinstance(count, int) else f"  {label}: {count}")
        for failure in self.failures:
            print(f"  BROKEN: {failure}")
        print(f"{self.part}: {'held' if self.held else 'BROKEN'}", flush=True)
        if file is not None:
            self.write(file)
        return 0 if self.held else 1

    def write(self, file: Path) -> None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
