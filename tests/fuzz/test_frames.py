"""A million mutated frames: the one remote error, no forgery, no growing memory. And the fuzzer itself can fail."""

from __future__ import annotations

import pytest

from protocol.errors import Code
from protocol.wire.frame import FrameRules, OpenedFrame, parse_header
from tests.fuzz import frames


@pytest.mark.timeout(900)  # 30 s on two cores at rest
def test_a_million_mutated_frames_give_refusals_and_nothing_else() -> None:
    report = frames.run(1_000_000, seed=1)
    assert report.frames == 1_000_000
    assert report.escapes == []
    assert report.growth_bytes <= frames.GROWTH_BYTES_MAX
    assert report.opened > 10_000  # those that were mutated before they were signed
    reached = {Code(code) for code in report.refusals}
    assert reached >= {
        Code.FRAME_MALFORMED,
        Code.FRAME_MAGIC_UNKNOWN,
        Code.FRAME_TOO_LARGE,
        Code.SUITE_UNKNOWN,
        Code.TYPE_NOT_ALLOWED,
        Code.AUDIENCE_WRONG,
        Code.SENDER_WRONG,
        Code.KEY_WEAK,
        Code.TIME_OUTSIDE,
        Code.REPLAYED,
        Code.SIGNATURE_WRONG,
        Code.BODY_MALFORMED,
    }


def test_a_batch_is_repeated_by_its_seed() -> None:
    first, second, other = (frames.run_batch(seed, 0, 500) for seed in (1, 1, 2))
    assert first.refusals == second.refusals != other.refusals


def test_the_fuzzer_sees_a_forgery_and_a_foreign_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(raw: bytes, _rules: FrameRules) -> OpenedFrame:
        if len(raw) < 10:
            raise KeyError("short")
        return OpenedFrame(header=parse_header(raw), body=b"")

    monkeypatch.setattr(frames, "open_frame", careless)
    report = frames.run_batch(1, 0, 2_000)
    assert any(find.startswith("KeyError") for find in report.escapes)
    assert any(find.startswith("forged") for find in report.escapes)
    assert not report.passed
