"""What a part of the proof leaves behind: one JSON file of fixed form."""

from __future__ import annotations

from pathlib import Path

import msgspec

from protocol.record import Record


class Report(Record, frozen=True):
    part: str
    promise: str  # one sentence: what must hold
    held: bool
    counts: dict[str, int | float | str]  # in order of interest
    failures: tuple[str, ...]  # one line each, with what reproduces it
    notes: tuple[str, ...]  # what was not covered

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
