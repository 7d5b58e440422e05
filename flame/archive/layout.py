"""Names that writing and reading of an archive share."""

from __future__ import annotations

from typing import Final

FORMAT: Final = 1
RUN: Final = "@run"  # the group of what is known of the run; no node has this name
