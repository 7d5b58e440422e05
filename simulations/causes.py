"""Why a job may fail in a run: what its options plant can cause these codes and nothing else."""

from __future__ import annotations

from typing import Final

from protocol.errors import Code
from simulations.options import HOUR_MS, JobPlan, Options
from simulations.tasks import PLANTED_FAULT

_SILENCE: Final = frozenset({Code.HOLDER_LOST, Code.TRANSFER_STALLED})


def causes_of(options: Options, job: JobPlan) -> frozenset[str]:
    """The codes that may end this job under these options."""
    causes: set[str] = {Code.TIMED_OUT}
    if job.cancel_after_ms:
        causes.add(Code.JOB_CANCELLED)
    if options.task_faults:
        causes.add(PLANTED_FAULT)
    if options.task_deaths:
        causes |= {Code.TASK_CRASHED, Code.TASK_OUT_OF_MEMORY, Code.TASK_OUT_OF_TIME}
    if job.life_ms < HOUR_MS:
        causes.add(Code.ORDER_EXPIRED)  # at a holder, before it gets there
    if any(step.wild for step in options.clock_steps):
        causes |= {Code.ORDER_EXPIRED, Code.TIME_OUTSIDE}
        causes |= _SILENCE  # its frames are too old or too new until a greeting has taught its offset
    silent = (options.loss, options.spikes, options.crashes, options.falls, options.pauses, options.full_disks)
    if any(silent) or options.cuts:
        causes |= _SILENCE
    if options.bans:
        causes.add(Code.NODE_BANNED)
        causes |= {*_SILENCE, Code.ALREADY_RUN}  # a holder that banned the leader has dropped its tasks
    return frozenset(causes)
