"""The report of one part of the proof: what must hold, what was counted, what broke."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_report(
    file: Path | None,
    *,
    part: str,
    promise: str,
    counts: Mapping[str, int | str],
    failures: Sequence[str],
    notes: Sequence[str],
) -> int:
    """Says it to people, writes it to `file` if there is one, and returns the exit code: 0 held, 1 something broke."""
    values = {
        "part": part,
        "promise": promise,
        "held": not failures,
        "counts": dict(counts),
        "failures": list(failures),
        "notes": list(notes),
    }
    for label, count in counts.items():
        print(f"{label}: {count}")
    for failure in failures:
        print(f"BROKEN {failure}")
    if file is not None:
        file.write_text(json.dumps(values, indent=2) + "\n")
    return 1 if failures else 0
