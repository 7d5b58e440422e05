"""What a flame node waits for at the moment."""

from __future__ import annotations

from typing import Literal

import msgspec

from flame.control import Beat, InputCount


class Wait(msgspec.Struct, frozen=True):
    """For room in an input, for the first value of outputs, or for a further one. Its text is for people:
    "room in lock/trace", "its first value of fit/centre", "a value of scope/trace or scope/level".
    """

    kind: Literal["room", "first", "value"]
    of: tuple[str, ...]

    def __str__(self) -> str:
        what = {"room": "room in", "first": "its first value of", "value": "a value of"}[self.kind]
        return f"{what} {' or '.join(self.of)}"


def wait_of(beat: Beat) -> Wait | None:
    """None: it waits for nothing. A beat stays the newest when its flame node is gone: ask of one that runs."""
    if beat.blocked_on:
        return Wait("room", (beat.blocked_on,))
    first = [producer for name, producer in beat.awaits.items() if not beat.inputs.get(name, InputCount()).received]
    if first and len(first) == len(beat.awaits):
        return Wait("first", tuple(first))
    return Wait("value", tuple(beat.awaits.values())) if beat.awaits else None


def waits_for(beat: Beat) -> str:
    """In words; "" for nothing."""
    return str(wait_of(beat) or "")
