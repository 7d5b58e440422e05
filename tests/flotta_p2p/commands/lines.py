"""Runs one command line within the test's process, without the person's own files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from flotta_p2p.commands.main import cli


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """The one JSON document of standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def refused(self, code: int) -> str:
        """The one sentence of an error with its next step; AssertionError for anything else."""
        assert self.code == code, (self.code, self.out, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err
        line = self.err.strip().splitlines()[-1]
        assert line.startswith("flotta-p2p: ")
        assert "Next: " in line
        return line


def run(folder: Path, *words: str, typed: str = "", environment: dict[str, str] | None = None) -> Ran:
    """`flotta-p2p WORDS` with key and data folders below `folder`; `typed` comes from a pipe."""
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data")}
    unset = {"FLOTTA_KEY": None, "FLOTTA_TOKEN": None}
    result = CliRunner().invoke(cli, words, input=typed, env={**unset, **own, **(environment or {})})
    return Ran(result.exit_code, result.stdout, result.stderr)
