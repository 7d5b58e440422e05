"""The one rule for the names that people give to nodes, projects and data sources."""

from __future__ import annotations

import re
from typing import Final

from protocol.limits import NAME_CHARS_MAX

NAME_RULE: Final = (
    f"1 to {NAME_CHARS_MAX} ASCII letters, digits, dots, hyphens or underscores, the first a letter or digit"
)
# ASCII and without a slash: a name is also a file name, a part of an address and a word on a command line.
NAME_PATTERN: Final = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARS_MAX - 1}}}"
_NAME: Final = re.compile(NAME_PATTERN, re.ASCII)


def is_name(text: str) -> bool:
    """Whether `text` follows NAME_RULE."""
    return _NAME.fullmatch(text) is not None
