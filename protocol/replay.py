"""The window that tells a new frame from a repeated one (RFC 6479: highest number and a bitmap)."""

from __future__ import annotations

from protocol.errors import LocalProtocolError
from protocol.limits import REPLAY_WINDOW_FRAMES

_ALL = (1 << REPLAY_WINDOW_FRAMES) - 1


class ReplayWindow:
    """What one sender has sent since one of its boots: the highest sequence number and which of the last ones
    came.

    `admits` only reads; `commit` is called after the signature was verified, so that a forger cannot move the
    window. A boot id above the current one starts an empty window, a lower one is refused. One owner, one
    thread; about 200 bytes.
    """

    __slots__ = ("_boot_id", "_highest", "_seen")

    def __init__(self) -> None:
        self._boot_id = -1
        self._highest = -1
        self._seen = 0  # bit n: the frame `highest - n` came

    def admits(self, boot_id: int, sequence: int) -> bool:
        """Whether this frame is new. One too old for the window is not: nobody knows whether it came."""
        if boot_id != self._boot_id:
            return boot_id > self._boot_id
        behind = self._highest - sequence
        return behind < 0 or (behind < REPLAY_WINDOW_FRAMES and not self._seen >> behind & 1)

    def commit(self, boot_id: int, sequence: int) -> None:
        """Remember a frame that `admits` let pass. Raises LocalProtocolError for any other."""
        if not self.admits(boot_id, sequence):
            raise LocalProtocolError(f"frame {sequence} of boot {boot_id} is not new")
        if boot_id > self._boot_id:
            self._boot_id, self._highest, self._seen = boot_id, sequence, 1
            return
        ahead = sequence - self._highest
        if ahead > 0:
            # A jump beyond the window empties it; shifting by the whole jump would build a number as long as
            # the jump.
            self._seen = (self._seen << ahead & _ALL) | 1 if ahead < REPLAY_WINDOW_FRAMES else 1
            self._highest = sequence
        else:
            self._seen |= 1 << -ahead
