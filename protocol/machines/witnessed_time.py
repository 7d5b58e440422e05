"""The wall time of which a node is sure, for what cannot be undone.

A wall clock may be wrong: set by hand, or after a start without a battery. What it has jumped ahead is believed only
after it has run on for CLOCK_CONFIRM_MS of the boot clock, which never jumps. Until then the sure time goes on from
where it stood, as fast as the boot clock.
"""

from __future__ import annotations

from protocol.limits import CLOCK_CONFIRM_MS, CLOCK_JUMP_MS_MAX, CLOCK_TOLERANCE_MS
from protocol.machines.contract import Now


class WitnessedTime:
    """`look` is called again and again; `sure_ms` is what the last call returned."""

    def __init__(self, sure_ms: int) -> None:
        """`sure_ms`: of an earlier life of the node. The time since then was not seen by this one. 0 of a new node: its
        first wall time is believed, since there is nothing that a wrong clock could remove.
        """
        self.sure_ms = sure_ms
        self._looked_ns: int | None = None
        # since when (boot clock, ns), and how far the wall clock is ahead of it
        self._doubt: tuple[int, int] | None = None

    def look(self, now: Now) -> int:
        """The sure time in ms: the wall clock's, unless that is too far ahead of what this node saw pass."""
        expected_ms = self.sure_ms or now.wall_ms
        if self._looked_ns is not None:
            expected_ms += (now.boot_ns - self._looked_ns) // 1_000_000
        self._looked_ns = now.boot_ns
        believed = now.wall_ms <= expected_ms + CLOCK_JUMP_MS_MAX or self._confirms(now)
        if believed:
            self._doubt = None
        self.sure_ms = now.wall_ms if believed else expected_ms
        return self.sure_ms

    @property
    def in_doubt(self) -> bool:
        return self._doubt is not None

    def _confirms(self, now: Now) -> bool:
        """Begins a doubt, or begins it anew when the wall clock jumps again; true once it is old enough."""
        ahead_ms = now.wall_ms - now.boot_ns // 1_000_000
        if self._doubt is None or abs(ahead_ms - self._doubt[1]) > CLOCK_TOLERANCE_MS:
            self._doubt = (now.boot_ns, ahead_ms)
        return now.boot_ns - self._doubt[0] >= CLOCK_CONFIRM_MS * 1_000_000
