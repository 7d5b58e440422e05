"""What to say when a name is not there: the nearest names that are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

SHOWN_MAX: Final = 12  # names in one sentence: more are not read


def nearest(name: str, names: Iterable[str]) -> str:
    """Half a sentence: "nearest: beat", "it has beat, error, piezo" or "it has none"."""
    known = sorted(names)
    close = get_close_matches(name, known, n=3)
    if close:
        return f"nearest: {', '.join(close)}"
    if not known:
        return "it has none"
    more = f" and {len(known) - SHOWN_MAX} more" if len(known) > SHOWN_MAX else ""
    return f"it has {', '.join(known[:SHOWN_MAX])}{more}"
