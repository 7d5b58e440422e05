"""One sender's flood does not take the others' share."""

from __future__ import annotations

from protocol.limits import FRAME_BYTES_MAX, FRAME_BYTES_PER_TOKEN, SENDER_FRAMES_BURST, SENDER_FRAMES_PER_S
from protocol.rate import FairShare

LOUD, QUIET = b"loud", b"quiet"


def test_a_flood_is_cut_to_its_share_and_the_others_are_not() -> None:
    share = FairShare()
    admitted = sum(share.admits(LOUD, 300, 0.0) for _ in range(10 * SENDER_FRAMES_BURST))
    assert admitted == SENDER_FRAMES_BURST
    assert share.admits(QUIET, 300, 0.0)
    later = sum(share.admits(LOUD, 300, 1.0) for _ in range(10 * SENDER_FRAMES_BURST))
    assert later == SENDER_FRAMES_PER_S


def test_a_large_frame_costs_what_it_weighs_and_is_never_shut_out() -> None:
    share = FairShare()
    cost = 1 + FRAME_BYTES_MAX // FRAME_BYTES_PER_TOKEN
    admitted = sum(share.admits(LOUD, FRAME_BYTES_MAX, 0.0) for _ in range(SENDER_FRAMES_BURST))
    assert admitted == -(-SENDER_FRAMES_BURST // cost)
    assert share.admits(LOUD, FRAME_BYTES_MAX, 1.0)
