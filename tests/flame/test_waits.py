"""What a flame node waits for, in words."""

from __future__ import annotations

import pytest

from flame.control import Beat, InputCount
from flame.run.waits import waits_for


@pytest.mark.parametrize(
    ("beat", "words"),
    [
        (Beat(), ""),
        (Beat(awaits={"gain": "fit/centre"}), "its first value of fit/centre"),
        (Beat({"gain": InputCount(received=3)}, awaits={"gain": "fit/centre"}), "a value of fit/centre"),
        (Beat(awaits={"a": "x/y", "b": "x/z"}), "its first value of x/y or x/z"),
        (Beat({"a": InputCount(received=1)}, awaits={"a": "x/y", "b": "x/z"}), "a value of x/y or x/z"),
        (Beat(blocked_on="lock/trace"), "room in lock/trace"),
    ],
)
def test_it_names_what_must_come(beat: Beat, words: str) -> None:
    assert waits_for(beat) == words
