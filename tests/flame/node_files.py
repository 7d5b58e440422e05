"""Node files that run alone, as a person would start them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

LIMIT_S = 60.0


def run_alone(folder: Path, text: str, name: str = "probe") -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(file)], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
