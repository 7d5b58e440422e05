"""What a person reads while the demo runs: coloured on a terminal, plain lines in a pipe, nothing with --json."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_PIPE_COLUMNS: Final = 120
_INDENT: Final = 3


class Narrator:
    """Writes to standard output, in ASCII, so that every terminal and log shows it."""

    def __init__(self, *, quiet: bool) -> None:
        self._terminal = sys.stdout.isatty()
        self._started_s = time.monotonic()
        self._steps = 0
        self._console = Console(
            force_terminal=self._terminal,
            width=None if self._terminal else _PIPE_COLUMNS,
            quiet=quiet,
            highlight=False,
            markup=False,
            emoji=False,
        )

    @property
    def seconds(self) -> float:
        """Since the narrator began."""
        return time.monotonic() - self._started_s

    def headline(self, text: str) -> None:
        self._line(text, style="bold")

    def step(self, text: str) -> None:
        self._steps += 1
        self._console.print()
        self._line(f"{self._steps}. {text}", style="bold cyan")

    def say(self, text: str) -> None:
        self._line(text, indent=_INDENT)

    def gap(self) -> None:
        self._console.print()

    def event(self, text: str) -> None:
        """Something that has just happened, with the time since the start."""
        self._line(f"{self.seconds:5.1f} s  {text}", indent=_INDENT)

    def verdict(self, good: bool, text: str) -> None:
        self._line(text, indent=_INDENT, style="green" if good else "bold red")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The first column is text, the others are numbers."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for at, name in enumerate(columns):
            whole = max((len(row[at]) for row in rows), default=0) if at else None  # a number is never cut
            table.add_column(name, justify="right" if at else "left", overflow="fold", min_width=whole)
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, _INDENT), expand=False))

    def _line(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """Broken between words on a terminal, one line in a pipe."""
        if self._terminal:
            self._console.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False))
        else:
            self._console.print(" " * indent + text, style=style, soft_wrap=True)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """A sign of life on a terminal."""
        return self._console.status(text, spinner="line") if self._terminal else nullcontext()
