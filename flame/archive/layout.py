"""Names that writing and reading of an archive share."""

from __future__ import annotations

from typing import Final

FORMAT: Final = 1
IN: Final = "in"  # the group, in that of a flame node, of what was written to its inputs; no output has this name
RUN: Final = "@run"  # the group of what is known of the run; no node has this name
