"""Why a job did not succeed, for the person who submitted it: each names the holder and what to do."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from protocol.errors import Code
from protocol.ids import format_id
from protocol.limits import TASK_INPUT_BYTES_MAX
from protocol.machines.job_book import JobBook
from protocol.machines.jobs import Job
from protocol.machines.planning import Holders
from protocol.plan.plan import Outcome, Task
from protocol.wire.jobs import Cause

_OR_OTHERS: Final = "or name the other holders with --holders"


def told(task: Task, outcome: Outcome, holders: Holders) -> Cause:
    """The worker's own words. One table that is not as it should be does not hold up the others."""
    step = outcome.next_step
    if outcome.code.startswith("source-"):
        step = f"{step.rstrip('.')}, {_OR_OTHERS}" if step else _OR_OTHERS.removeprefix("or ")
    return _cause(task, holders, outcome.code, outcome.sentence, step)


def silent(task: Task, silent_ms: int, holders: Holders) -> Cause:
    """A lease was lost. Of a task that must not run twice nobody knows whether it ran."""
    name, way = holders.name(task.node), holders.way_name(task.node)
    sentence = f"the holder {name} has been silent for {silent_ms / 1000:g} s: "
    if way:
        sentence += f"it is a client that is reached through {way}, and one of the two is down or cut off"
        first = f"see whether {way} runs, and then {name}"
    else:
        sentence += "it is down, cut off, or no longer in the project"
        first = f"start {name} again"
    code = Code.OUTCOME_UNKNOWN if task.effect == "once" else Code.HOLDER_LOST
    step = f"{first}; submit again, {_OR_OTHERS}"
    return _cause(task, holders, code, sentence, step)


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


def of_banned_holders(book: JobBook, banned: frozenset[bytes], holders: Holders) -> list[tuple[Job, Cause]]:
    """The live jobs in which a banned node takes part: nobody here hears its answers any more."""
    found = []
    for job in book.live.values():
        node = next((one.node for one in job.row.participants if one.node in banned), None)
        if node is not None:
            found.append((job, _banned(node, holders.name(node))))
    return found


def _banned(node: bytes, name: str) -> Cause:
    return Cause(
        code=Code.NODE_BANNED,
        sentence=f"the holder {name} was banned by the operator of the node that leads this job",
        node=node,
        node_name=name,
        next_step=f"submit again without it, or lift the ban there: flotta-p2p peers accept {format_id(node)}",
    )


def of_projects_given_up(book: JobBook, held: Container[bytes], *, left: bool) -> list[tuple[Job, Cause]]:
    """The live jobs of projects whose token the node that leads them no longer holds."""
    cause = Cause(
        code=Code.PROJECT_ROTATED,
        sentence="the node that leads this job no longer holds the project's token: it was rotated or taken away",
        next_step="submit again to the project with its new token",
    )
    if left:
        sentence, next_step = "the node that leads this job has left its projects", "submit again to another node"
        cause = Cause(code=Code.NODE_LEFT, sentence=sentence, next_step=next_step)
    return [(job, cause) for job in book.live.values() if job.row.project not in held]


def _cause(task: Task, holders: Holders, code: str, sentence: str, next_step: str) -> Cause:
    return Cause(
        code=code,
        sentence=sentence,
        node=task.node,
        node_name=holders.name(task.node),
        source=task.source,
        next_step=next_step,
    )
