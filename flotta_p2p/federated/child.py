"""The program of a child process that computes one task: `python -m flotta_p2p.federated.child [--warm]`.

Requests come and answers go as bytes; whatever happens, an answer is a Product or a Fault, and a Fault holds
no cell and no path.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from actors.child_bootstrap import Channel, adopt_parent_death, limit_resources, parent_pid
from actors.failpoints import Point, reached
from flotta_p2p.federated import groups, probe
from flotta_p2p.federated.conversation import NOBODY, Conversation, Talk, hand_over, whole
from flotta_p2p.federated.group_merging import read_group_measure
from flotta_p2p.federated.merging import read_measure
from flotta_p2p.federated.summary import measure, merge, prepare
from protocol.errors import Code, FlottaError, UnreachableError, WorkflowError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, MEASURE_BYTES_MAX
from protocol.plan.artifact import Artifact, read_artifact
from protocol.plan.operations import operation
from protocol.plan.products import TOO_LARGE_STEP
from protocol.plan.tasks import (
    CheckRequest,
    ChildAnswer,
    ChildRequest,
    Fault,
    GroupSettings,
    InspectRequest,
    Product,
    Settings,
    SourceFile,
    TaskRequest,
)
from protocol.wire.codec import decode_record, encode_record

_S = TypeVar("_S", Settings, GroupSettings)


class _Task(NamedTuple):
    """A request with its inputs whole."""

    artifact: Artifact
    request: TaskRequest
    inputs: tuple[bytes, ...]


def answer(data: bytes, talk: Talk = NOBODY) -> bytes:
    """The answer to one encoded request. Never raises an Exception or a panic of Polars."""
    answered = encode_record(_answer(data, talk))
    reached(Point.TASK_COMPUTED)
    return answered


def _answer(data: bytes, talk: Talk) -> ChildAnswer:
    try:
        return _product(data, talk)
    except FlottaError as error:
        return Fault(code=error.code.value, sentence=error.sentence, next_step=error.next_step)
    except MemoryError:
        return Fault(code=Code.TASK_OUT_OF_MEMORY.value, sentence="the task needs more memory than there is")
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        # The outermost frame. A panic of Polars is no Exception, and its text may quote a cell.
        return _internal(error)


def _internal(error: BaseException) -> Fault:
    sentence = f"the task failed by a fault of the program ({type(error).__name__})"
    return Fault(
        code=Code.INTERNAL.value,
        sentence=sentence,
        next_step="report it with the artifact, not with the data",
    )


def _product(data: bytes, talk: Talk) -> Product:
    request = decode_record(data, ChildRequest, bytes_max=CHILD_MESSAGE_BYTES_MAX)
    if isinstance(request, InspectRequest):
        return Product(data=_inspection(request))
    if isinstance(request, CheckRequest):
        return Product(data=_report(request))
    return hand_over(_computed(request, talk), request.inline_bytes, talk)


def _inspection(request: InspectRequest) -> bytes:
    from flotta_p2p.federated.tables import inspect

    return encode_record(inspect(request.source))


def _report(request: CheckRequest) -> bytes:
    from flotta_p2p.federated.checking import check_table

    return encode_record(check_table(request.source))


def _computed(request: TaskRequest, talk: Talk) -> bytes:
    program = _PROGRAMS.get(request.operation)
    if program is None:
        raise WorkflowError(Code.OPERATION_UNKNOWN, f'no program for the operation "{request.operation[:64]}"')
    if len(request.labels) != len(request.inputs):
        raise WorkflowError(Code.TASK_NOT_DERIVED, "the inputs of a task and their labels differ in number")
    artifact = read_artifact(request.artifact)
    product = program(_Task(artifact, request, tuple(whole(carried, talk) for carried in request.inputs)))
    limit = operation(request.operation).product_bytes_max
    if len(product) > limit:
        sentence = f"the product has {len(product):,} bytes; at most {limit:,} may leave a task of {request.operation}"
        raise WorkflowError(Code.RESULT_TOO_LARGE, sentence, next_step=TOO_LARGE_STEP)
    return product


def _measure(task: _Task) -> bytes:
    source, settings = _at_source(task, Settings)
    return encode_record(measure(task.artifact, source, settings))


def _merge(task: _Task) -> bytes:
    products = zip(task.request.labels, task.inputs, strict=True)
    return encode_record(merge(task.artifact, [(label, read_measure(label, data)) for label, data in products]))


def _measure_groups(task: _Task) -> bytes:
    source, settings = _at_source(task, GroupSettings)
    return encode_record(groups.measure(task.artifact, source, settings))


def _merge_groups(task: _Task) -> bytes:
    products = zip(task.request.labels, task.inputs, strict=True)
    labelled = [(label, read_group_measure(label, data)) for label, data in products]
    return encode_record(groups.merge(task.artifact, labelled))


def _at_source(task: _Task, settings: type[_S]) -> tuple[SourceFile, _S]:
    """What a task at a holder works on."""
    if task.request.source is None or len(task.inputs) != 1:
        raise WorkflowError(Code.TASK_NOT_DERIVED, f"{task.request.operation} needs one source and the settings")
    return task.request.source, decode_record(task.inputs[0], settings, bytes_max=MEASURE_BYTES_MAX)


_PROGRAMS: Final[dict[str, Callable[[_Task], bytes]]] = {
    "summary.prepare": lambda task: encode_record(prepare(task.artifact)),
    "summary.measure": _measure,
    "summary.merge": _merge,
    "groups.prepare": lambda task: encode_record(groups.prepare(task.artifact)),
    "groups.measure": _measure_groups,
    "groups.merge": _merge_groups,
    "probe.prepare": lambda task: b"",
    "probe.work": lambda task: probe.work(task.artifact, task.request.artifact),
    "probe.merge": lambda task: encode_record(probe.merge(task.inputs)),
    "probe.gather": lambda task: probe.gather(task.inputs),
}


def main() -> None:
    """Serve the parent until it closes the channel. With `--warm`, load Polars while nothing is asked yet."""
    adopt_parent_death(parent_pid())
    limit_resources()
    if "--warm" in sys.argv[1:]:
        import flotta_p2p.federated.grouping
        import flotta_p2p.federated.measuring  # noqa: F401
    conversation = Conversation(Channel())
    with contextlib.suppress(UnreachableError):  # the node is gone, and so is who wants the answer
        for request in conversation.requests():
            conversation.answer(answer(request, conversation))


if __name__ == "__main__":
    main()
