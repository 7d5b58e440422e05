"""Users and groups of this machine, as a workflow names them."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable

from flame.run.writes import GROUP_MARK


def unknown_names(names: Iterable[str]) -> list[str]:
    """Those that this machine does not know, each in words; `@lab` is a group."""
    return [
        f"group {name.removeprefix(GROUP_MARK)!r}" if name.startswith(GROUP_MARK) else f"user {name!r}"
        for name in names
        if not _is_known(name)
    ]


def _is_known(name: str) -> bool:
    try:
        if name.startswith(GROUP_MARK):
            grp.getgrnam(name.removeprefix(GROUP_MARK))
        else:
            pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: of a text that no name can be
        return False
    return True
