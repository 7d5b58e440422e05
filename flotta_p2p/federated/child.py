"""The program of a child process that computes one task: `python -m flotta_p2p.federated.child [--warm]`.

Requests come and answers go as bytes; whatever happens, an answer is a Product or a Fault, and a Fault holds
no cell and no path.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from actors.child_bootstrap import adopt_parent_death, limit_resources, parent_pid, serve
from actors.failpoints import Point, reached
from flotta_p2p.federated import groups, probe
from flotta_p2p.federated.group_merging import read_group_measure
from flotta_p2p.federated.merging import read_measure
from flotta_p2p.federated.summary import measure, merge, prepare
from protocol.errors import Code, FlottaError, WorkflowError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, PRODUCT_BYTES_MAX
from protocol.plan.artifact import Artifact, read_artifact
from protocol.plan.tasks import (
    CheckRequest,
    ChildAnswer,
    ChildRequest,
    Fault,
    GroupSettings,
    InspectRequest,
    Product,
    Settings,
    TaskRequest,
)
from protocol.wire.codec import decode_record, encode_record


def answer(data: bytes) -> bytes:
    """The answer to one encoded request. Never raises an Exception or a panic of Polars."""
    answered = encode_record(_answer(data))
    reached(Point.TASK_COMPUTED)
    return answered


def _answer(data: bytes) -> ChildAnswer:
    try:
        return Product(data=_product(data))
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


def _product(data: bytes) -> bytes:
    request = decode_record(data, ChildRequest, bytes_max=CHILD_MESSAGE_BYTES_MAX)
    if isinstance(request, InspectRequest):
        return _inspection(request)
    if isinstance(request, CheckRequest):
        return _report(request)
    product = _computed(request)
    if len(product) > PRODUCT_BYTES_MAX:
        sentence = f"the product has {len(product):,} bytes; at most {PRODUCT_BYTES_MAX:,} may leave a task"
        raise WorkflowError(Code.RESULT_TOO_LARGE, sentence, next_step="ask for fewer columns, bins or groups")
    return product


def _inspection(request: InspectRequest) -> bytes:
    from flotta_p2p.federated.tables import inspect

    return encode_record(inspect(request.source))


def _report(request: CheckRequest) -> bytes:
    from flotta_p2p.federated.checking import check_table

    return encode_record(check_table(request.source))


def _computed(request: TaskRequest) -> bytes:
    program = _PROGRAMS.get(request.operation)
    if program is None:
        raise WorkflowError(Code.OPERATION_UNKNOWN, f'no program for the operation "{request.operation[:64]}"')
    if len(request.labels) != len(request.inputs):
        raise WorkflowError(Code.TASK_NOT_DERIVED, "the inputs of a task and their labels differ in number")
    return program(read_artifact(request.artifact), request)


def _prepare(artifact: Artifact, request: TaskRequest) -> bytes:
    return encode_record(prepare(artifact))


def _measure(artifact: Artifact, request: TaskRequest) -> bytes:
    if request.source is None or len(request.inputs) != 1:
        raise WorkflowError(Code.TASK_NOT_DERIVED, "summary.measure needs one source and the settings")
    settings = decode_record(request.inputs[0], Settings, bytes_max=PRODUCT_BYTES_MAX)
    return encode_record(measure(artifact, request.source, settings))


def _merge(artifact: Artifact, request: TaskRequest) -> bytes:
    labelled = [(label, read_measure(label, data)) for label, data in zip(request.labels, request.inputs, strict=True)]
    return encode_record(merge(artifact, labelled))


def _prepare_groups(artifact: Artifact, request: TaskRequest) -> bytes:
    return encode_record(groups.prepare(artifact))


def _measure_groups(artifact: Artifact, request: TaskRequest) -> bytes:
    if request.source is None or len(request.inputs) != 1:
        raise WorkflowError(Code.TASK_NOT_DERIVED, "groups.measure needs one source and the settings")
    settings = decode_record(request.inputs[0], GroupSettings, bytes_max=PRODUCT_BYTES_MAX)
    return encode_record(groups.measure(artifact, request.source, settings))


def _merge_groups(artifact: Artifact, request: TaskRequest) -> bytes:
    products = zip(request.labels, request.inputs, strict=True)
    labelled = [(label, read_group_measure(label, data)) for label, data in products]
    return encode_record(groups.merge(artifact, labelled))


_PROGRAMS: Final[dict[str, Callable[[Artifact, TaskRequest], bytes]]] = {
    "summary.prepare": _prepare,
    "summary.measure": _measure,
    "summary.merge": _merge,
    "groups.prepare": _prepare_groups,
    "groups.measure": _measure_groups,
    "groups.merge": _merge_groups,
    "probe.prepare": lambda artifact, request: b"",
    "probe.work": lambda artifact, request: probe.work(artifact, request.artifact),
    "probe.merge": lambda artifact, request: encode_record(probe.merge(request.inputs)),
}


def main() -> None:
    """Serve the parent until it closes the channel. With `--warm`, load Polars while nothing is asked yet."""
    adopt_parent_death(parent_pid())
    limit_resources()
    if "--warm" in sys.argv[1:]:
        import flotta_p2p.federated.grouping
        import flotta_p2p.federated.measuring  # noqa: F401
    serve(answer)


if __name__ == "__main__":
    main()
