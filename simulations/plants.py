"""Machines broken on purpose, to prove that a fault of this kind is found. Only simulations and tests use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from protocol.machines.contract import Effect, Effects, Now, Received, Send
from protocol.machines.delivery import Courier
from protocol.machines.gate import Gate
from protocol.machines.jobs import Job
from protocol.machines.scheduler import Scheduler
from protocol.machines.worker import Worker
from protocol.plan.plan import Outcome
from protocol.wire.frame import FrameRules
from protocol.wire.jobs import Results, Tasks
from protocol.wire.peers import Acknowledge
from simulations.machines import Parts

Plant = Literal["old-fence", "old-fence-worker", "early-acknowledge", "no-replay-window"]


class _TrustingJob(Job):
    """Takes the word of a worker whatever epoch and attempt it was given under."""

    def check_outcome(self, outcome: Outcome, signer: bytes, sender: bytes, epoch: int) -> None:
        if 0 <= outcome.index < len(self.tasks):
            outcome = msgspec.structs.replace(outcome, epoch=epoch, attempt=self.tasks[outcome.index].attempt)
        super().check_outcome(outcome, signer, sender, epoch)


class OldFenceScheduler(Scheduler):
    def _results(self, event: Received, results: Results, now: Now) -> list[Effect]:
        job = self._book.live.get(results.job_id)
        if job is not None:
            job.__class__ = _TrustingJob
        return super()._results(event, results, now)


class OldFenceWorker(Worker):
    """Takes up the plan of any epoch of its scheduler."""

    def _tasks(self, event: Received, message: Tasks, now: Now) -> list[Effect]:
        known = self._executed.rows.get(message.job_id)
        if known is None:
            return super()._tasks(event, message, now)
        unfenced = self._executed.rows[message.job_id] = msgspec.structs.replace(known, epoch=0)
        effects = super()._tasks(event, message, now)
        if self._executed.rows[message.job_id] is unfenced:  # the offer was refused for another reason
            self._executed.rows[message.job_id] = known
        return effects


class EagerCourier(Courier):
    """Acknowledges at once; all else of that turn, its writes too, comes with the next one."""

    _owed: Effects = ()

    def turn(self, events: Sequence[Any], now: Now) -> Effects:
        effects = super().turn(events, now)
        owed, self._owed = self._owed, ()
        eager = tuple(one for one in effects if isinstance(one, Send) and isinstance(one.message, Acknowledge))
        if eager:
            self._owed = tuple(one for one in effects if one not in eager)
            return (*owed, *eager)
        return (*owed, *effects)


class WindowlessGate(Gate):
    """Opens frames without a replay window."""

    def _rules(self, link: Any, now: Now) -> FrameRules:
        return msgspec.structs.replace(super()._rules(link, now), window=None)


PLANTS: Final[dict[Plant, Parts]] = {
    "old-fence": Parts(scheduler=OldFenceScheduler),
    "old-fence-worker": Parts(worker=OldFenceWorker),
    "early-acknowledge": Parts(courier=EagerCourier),
    "no-replay-window": Parts(gate=WindowlessGate),
}
