"""Token buckets, for what strangers and peers may cause how often."""

from __future__ import annotations

from protocol.limits import FRAME_BYTES_PER_TOKEN, SENDER_FRAMES_BURST, SENDER_FRAMES_PER_S, SHARES_MAX


class TokenBucket:
    """Allows `burst` at once and then `per_s` a second. The caller gives the time in seconds of any clock
    that only rises."""

    def __init__(self, *, per_s: float, burst: int, now_s: float) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at_s = now_s

    def take(self, now_s: float, tokens: int = 1) -> bool:
        """Take so many tokens if one is there; a large frame goes into debt, and the next ones wait for it."""
        if self.wait_s(now_s) > 0:
            return False
        self._tokens -= tokens
        return True

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next token is there; 0 when one is."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return max(0.0, (1 - self._tokens) / self._per_s)


class FairShare:
    """How much of the gate's time each sender may take: one that floods loses its own frames, not the others'.

    A frame costs one token, and one more for each FRAME_BYTES_PER_TOKEN. What is dropped and matters is repeated by
    the outbox of its sender.
    """

    def __init__(self, *, per_s: float = SENDER_FRAMES_PER_S, burst: int = SENDER_FRAMES_BURST) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[bytes, TokenBucket] = {}  # limits.SHARES_MAX

    def admits(self, sender: bytes, frame_bytes: int, now_s: float) -> bool:
        bucket = self._buckets.get(sender)
        if bucket is None:
            if len(self._buckets) >= SHARES_MAX:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[sender] = TokenBucket(per_s=self._per_s, burst=self._burst, now_s=now_s)
        return bucket.take(now_s, 1 + frame_bytes // FRAME_BYTES_PER_TOKEN)
