"""Why a job did not succeed, for the person who submitted it: each names the holder and what to do."""

from __future__ import annotations

from protocol.errors import Code
from protocol.limits import TASK_INPUT_BYTES_MAX
from protocol.machines.planning import Holders
from protocol.plan.plan import Outcome, Task
from protocol.wire.jobs import Cause


def told(task: Task, outcome: Outcome, holders: Holders) -> Cause:
    """The worker's own words."""
    return _cause(task, holders, outcome.code, outcome.sentence, outcome.next_step)


def silent(task: Task, silent_ms: int, holders: Holders) -> Cause:
    """A lease was lost. Of a task that must not run twice nobody knows whether it ran."""
    name = holders.name(task.node)
    return _cause(
        task,
        holders,
        Code.OUTCOME_UNKNOWN if task.effect == "once" else Code.HOLDER_LOST,
        f"the holder {name} has been silent for {silent_ms / 1000:g} s: "
        "it is down, cut off, or no longer in the project",
        f"start {name} again and submit again, or name the other holders with --holders",
    )


def late(task: Task, deadline_ms: int, holders: Holders) -> Cause:
    sentence = (
        f"the job's deadline of {deadline_ms / 1000:g} s has passed while it waited for {holders.name(task.node)}"
    )
    return _cause(task, holders, Code.TIMED_OUT, sentence, "submit again with a longer --deadline")


def heavy(task: Task, input_bytes: int, holders: Holders) -> Cause:
    sentence = (
        f"the {len(task.inputs)} products that {task.operation} takes have {input_bytes} bytes together, "
        f"at most {TASK_INPUT_BYTES_MAX} can be taken"
    )
    return _cause(task, holders, Code.RESULT_TOO_LARGE, sentence, "ask for fewer columns, bins or holders")


def _cause(task: Task, holders: Holders, code: str, sentence: str, next_step: str) -> Cause:
    return Cause(
        code=code,
        sentence=sentence,
        node=task.node,
        node_name=holders.name(task.node),
        source=task.source,
        next_step=next_step,
    )
