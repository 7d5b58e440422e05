"""What stays of a job that was removed: enough to say so, and to never run its order again."""

from __future__ import annotations

from typing import Final

from protocol.errors import Code, DeniedError
from protocol.machines.events import OPERATOR
from protocol.record import Record
from protocol.wire.jobs import JobRemoved, RemovedBy
from protocol.words import exact_span

_WORDS: Final[dict[RemovedBy, str]] = {
    "operator": "the operator of this node removed the job and its result",
    "submitter": "its submitter removed the job and its result",
    "retention": "the job and its result were kept for {kept}, as settings.results.keep_days says here, and then "
    "removed",
}


class RemovedRow(Record, frozen=True):
    """`submitter` is a person id. `kept_ms`: of the rule by which it went, if it was `retention`."""

    submitter: bytes
    by: RemovedBy
    ended_ms: int
    removed_ms: int
    order_ends_ms: int  # its order could be started until then
    freed_bytes: int
    kept_ms: int = 0

    def is_of(self, sender: bytes) -> bool:
        return sender in (OPERATOR, self.submitter)

    def refusal(self) -> DeniedError:
        """For whoever asks about the job, or submits its order again."""
        sentence = _WORDS[self.by].format(kept=exact_span(self.kept_ms))
        return DeniedError(Code.JOB_REMOVED, sentence, next_step="submit the question again, as a new job")

    def answer(self, job_id: bytes, *, already: bool) -> JobRemoved:
        return JobRemoved(
            job_id=job_id, removed_ms=self.removed_ms, by=self.by, freed_bytes=self.freed_bytes, already=already
        )
