"""Mutated frames through `open_frame` and `decode`: what is refused, what escapes, what memory grows.

    python -m tests.fuzz.frames --count 1000000 --seed 1

Each batch has its own random source, seeded by (seed, number of the batch), so that a find is repeated by its
seed alone. A mutated frame is never equal to a frame that its sender signed: one that opens is a forgery. Some
bodies are mutated before they are signed, so that hostile bodies reach the decoder the way a peer with a valid
key would send them.
"""

from __future__ import annotations

import argparse
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from protocol.errors import RemoteProtocolError
from protocol.ids import node_id
from protocol.replay import ReplayWindow
from protocol.signing import SigningKey
from protocol.wire.codec import decode, encode
from protocol.wire.frame import BODY_OFFSET, FrameRules, Header, open_frame, seal
from simulations import report as proof
from simulations.report import FAILURES_SHOWN_MAX

BATCH_FRAMES = 5_000
PROGRESS_BATCHES = 100  # between two lines that tell how far the first worker is
GROWTH_BYTES_MAX = 32 * 1024 * 1024
BODY_BYTES_MAX = 65_536
NOW_MS = 1_800_000_000_000
FIELDS = (0, 4, 5, 6, 8, 12, 44, 76, 92, 108, 124, 132, 140, 148, 152, 160)  # offsets of header and signature
EXTREMES = (b"\0", b"\xff", b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7), bytes(32), b"\xff" * 32)

SENDER = SigningKey(b"fuzzing, the sender's seed......")
OWN_ID = node_id(SigningKey(b"fuzzing, the receiver's seed....").public_key)
BODIES = [
    encode(value)
    for value in (
        None,
        {"type": "heartbeat", "sent_ms": NOW_MS, "load": 0.25},
        {
            "ids": [bytes(16), b"\xff" * 16],
            "names": ["a", "b" * 40],
            "nested": {"x": [1, [2, [3, {"y": None}]]]},
        },
        {"rows": [{"column": "age", "count": n, "mean": n / 3} for n in range(6)]},
    )
]

Mutation = Callable[[Random, bytes], bytes]


@dataclass
class Report:
    """`escapes` are exceptions of another kind and forgeries; `growth_bytes` is the worst of all processes."""

    frames: int = 0
    opened: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    escapes: list[str] = field(default_factory=list)
    growth_bytes: int = 0

    def add(self, other: Report) -> None:
        self.frames += other.frames
        self.opened += other.opened
        self.refusals.update(other.refusals)
        self.escapes = (self.escapes + other.escapes)[:FAILURES_SHOWN_MAX]
        self.growth_bytes = max(self.growth_bytes, other.growth_bytes)

    @property
    def passed(self) -> bool:
        return not self.escapes and self.growth_bytes <= GROWTH_BYTES_MAX


def _header(sequence: int) -> Header:
    return Header(
        type=1 + sequence % 3,
        sender_key=SENDER.public_key,
        audience=OWN_ID,
        message_id=sequence.to_bytes(16, "big"),
        boot_id=NOW_MS,
        sequence=sequence,
        issued_ms=NOW_MS,
    )


SIGNED = [seal(_header(sequence), body, SENDER) for sequence, body in enumerate(BODIES * 2)]
SIGNED_SET = frozenset(SIGNED)


def _flip(random: Random, data: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(1 + random.getrandbits(2)):
        mutated[int(random.random() * len(data))] ^= 1 << random.getrandbits(3)
    return bytes(mutated)


def _overwrite(random: Random, data: bytes) -> bytes:
    place = random.choice(FIELDS)
    extreme = random.choice(EXTREMES)
    return data[:place] + extreme + data[place + len(extreme) :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: int(random.random() * len(data))]


def _continue(random: Random, data: bytes) -> bytes:
    return data + random.randbytes(1 + random.getrandbits(5))


def _splice(random: Random, data: bytes) -> bytes:
    place = int(random.random() * len(data))
    return data[:place] + random.choice(SIGNED)[place:]


def _resize(random: Random, data: bytes) -> bytes:
    """Another body with a header that announces it: this one reaches the signature."""
    body = _mutate_body(random, data[BODY_OFFSET:])
    return data[:8] + struct.pack(">I", len(body)) + data[12:BODY_OFFSET] + body


def _noise(random: Random, data: bytes) -> bytes:
    return random.randbytes(random.getrandbits(9))


def _mutate_body(random: Random, body: bytes) -> bytes:
    choice = random.getrandbits(2)
    if choice == 0:
        return _flip(random, body)
    if choice == 1:
        return _continue(random, body)
    if choice == 2:
        return random.randbytes(1) * (1 << random.getrandbits(3)) + body
    return _splice(random, body)


# A mutation that reaches the signature costs 0.12 ms, the others a hundredth of it: those are the many.
MUTATIONS: tuple[Mutation, ...] = (
    *(_flip,) * 2,
    *(_overwrite,) * 4,
    *(_cut,) * 4,
    *(_continue,) * 3,
    *(_splice,) * 3,
    *(_noise,) * 4,
    _resize,
)
RESIGNED_EVERY = 64  # frames


def run_batch(seed: int, number: int, frames: int) -> Report:
    """Mutate `frames` frames. `growth_bytes` is how much the highest memory of this process rose meanwhile."""
    random = Random(f"{seed}/{number}")
    report = Report(frames=frames)
    rules = FrameRules(
        own_id=OWN_ID,
        allowed={1: BODY_BYTES_MAX, 2: 1024, 3: 64},
        sender_key=SENDER.public_key if number % 2 else None,
        now_wall_ms=NOW_MS,
        window=ReplayWindow() if number % 4 < 2 else None,
    )
    before = memory_high_bytes()
    for count in range(frames):
        data = random.choice(SIGNED)
        if count % RESIGNED_EVERY == 0:
            raw = seal(_header(count + len(SIGNED)), _mutate_body(random, data[BODY_OFFSET:]), SENDER)
            _try(report, raw, rules, forged=False)
            continue
        raw = random.choice(MUTATIONS)(random, data)
        while raw in SIGNED_SET:  # two flips of one bit, or a splice of a frame with itself
            raw = _flip(random, data)
        _try(report, raw, rules, forged=True)
    report.growth_bytes = memory_high_bytes() - before
    return report


def _try(report: Report, raw: bytes, rules: FrameRules, *, forged: bool) -> None:
    """The body is decoded even where the frame was refused: the decoder stands for itself."""
    if _passes(report, raw, lambda: open_frame(raw, rules)):
        report.opened += 1
        if forged:
            _note(report, f"forged, yet opened: {raw.hex()}")
    _passes(report, raw, lambda: decode(raw[BODY_OFFSET:], bytes_max=BODY_BYTES_MAX))


def _passes(report: Report, raw: bytes, read: Callable[[], Any]) -> bool:
    try:
        read()
    except RemoteProtocolError as error:
        report.refusals[error.code.value] += 1
        return False
    except Exception as error:  # the outermost frame of the fuzzer: whatever comes is a find
        _note(report, f"{type(error).__name__}: {error}: {raw.hex()}")
        return False
    return True


def _note(report: Report, find: str) -> None:
    if len(report.escapes) < FAILURES_SHOWN_MAX:
        report.escapes.append(find)


def memory_high_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _run_share(seed: int, first: int, step: int, frames: int) -> Report:
    """Every `step`-th batch from `first`. Memory counts from the end of the first batch, which fills caches."""
    report = run_batch(seed, first, min(BATCH_FRAMES, frames))
    report.growth_bytes = 0
    before = memory_high_bytes()
    number = first + step
    while report.frames < frames:
        report.add(run_batch(seed, number, min(BATCH_FRAMES, frames - report.frames)))
        number += step
        if number % (PROGRESS_BATCHES * step) == 0:
            print(f"  {report.frames:,} frames of {frames:,} in the first worker", flush=True)
    report.growth_bytes = memory_high_bytes() - before
    return report


def run(count: int, seed: int, workers: int = 2) -> Report:
    """Mutate `count` frames in so many processes."""
    shares = [count // workers + (number < count % workers) for number in range(workers)]
    report = Report()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_run_share, seed, number, workers, share) for number, share in enumerate(shares)]
        for future in futures:
            report.add(future.result())
    return report


def finding(report: Report, seed: int, seconds: float) -> proof.Report:
    failures = list(report.escapes)
    if report.growth_bytes > GROWTH_BYTES_MAX:
        failures.append(f"memory grew by {report.growth_bytes} bytes (seed {seed})")
    return proof.Report(
        part="mutated frames",
        promise="A mutated frame is refused with the one remote error, and never opens as another's.",
        counts={
            "frames mutated": report.frames,
            "escapes and forgeries": len(report.escapes),
            "opened, mutated before they were signed": report.opened,
            **{f"refused: {code}": number for code, number in report.refusals.most_common()},
            "memory growth in KiB": report.growth_bytes // 1024,
            "frames per second": f"{report.frames / seconds:.0f}",
            "seed": seed,
        },
        failures=tuple(failures),
        notes=("Without guidance by coverage: mutations are drawn from a seed.",),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Send mutated frames through the decoders.")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    report = run(arguments.count, arguments.seed, arguments.workers)
    return finding(report, arguments.seed, time.monotonic() - started).tell(arguments.report)


if __name__ == "__main__":
    sys.exit(main())
