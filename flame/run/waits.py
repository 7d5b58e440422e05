"""What a flame node waits for at the moment, in words."""

from __future__ import annotations

from typing import Final

from flame.control import Beat, InputCount

FIRST: Final = "its first value of "


def waits_for(beat: Beat) -> str:
    """ "its first value of fit/centre", "a value of scope/trace", "room in lock/trace"; "" for nothing."""
    if beat.blocked_on:
        return f"room in {beat.blocked_on}"
    first = [producer for name, producer in beat.awaits.items() if not beat.inputs.get(name, InputCount()).received]
    if first and len(first) == len(beat.awaits):
        return f"{FIRST}{' or '.join(first)}"
    return f"a value of {' or '.join(beat.awaits.values())}" if beat.awaits else ""
