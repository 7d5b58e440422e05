"""The child's program: bytes in, a product or a fault out, whatever comes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.children import PARENT_VARIABLE
from actors.framing import Unframer, to_frame
from flotta_p2p.federated import child, measuring, tables
from flotta_p2p.federated.pooled import pooled_summary
from flotta_p2p.result import read_result
from protocol.columns import Column, ColumnRules, schema_digest
from protocol.errors import Code
from protocol.plan.artifact import artifact_bytes, probe_artifact
from protocol.plan.operations import OPERATIONS, ProbeParameters
from protocol.plan.products import product_digest
from protocol.plan.tasks import (
    CheckRequest,
    ChildAnswer,
    DisclosureRules,
    Fault,
    GroupedSummary,
    Inspection,
    InspectRequest,
    ProbeCount,
    Product,
    SourceFile,
    Summary,
    TableReport,
    TaskRequest,
    fact_of,
)
from protocol.wire.codec import decode_record, encode_record
from tests.flotta_p2p.federated.helpers import artifact_of, federated_groups, groups_of, source_of

ARTIFACT = artifact_of("x", "count,mean", where="x > 0")
GROUPS = groups_of("sex", "x", "mean")


def ask(request: msgspec.Struct | bytes) -> ChildAnswer:
    data = request if isinstance(request, bytes) else encode_record(request)
    answer: ChildAnswer = decode_record(child.answer(data), Product | Fault, bytes_max=1_000_000)
    return answer


def task(operation: str, source: SourceFile | None = None, /, **inputs: bytes) -> TaskRequest:
    """A task of GROUPS or of ARTIFACT, by the name of its operation."""
    return TaskRequest(
        operation=operation,
        artifact=artifact_bytes(GROUPS if operation.startswith("groups.") else ARTIFACT),
        source=source,
        inputs=tuple(inputs.values()),
        labels=tuple(inputs),
    )


def product(request: msgspec.Struct) -> bytes:
    answer = ask(request)
    assert isinstance(answer, Product), answer
    return answer.data


def fault(request: msgspec.Struct | bytes) -> Fault:
    answer = ask(request)
    assert isinstance(answer, Fault), answer
    return answer


def test_three_operations_make_the_pooled_truth(tmp_path: Path) -> None:
    sources = {
        name: source_of(tmp_path, f"x\n{values}\n", name=name) for name, values in (("a", "1\n2"), ("b", "-1\n7"))
    }
    settings = product(task("summary.prepare"))
    measures = {name: product(task("summary.measure", source, scheduler=settings)) for name, source in sources.items()}
    data = product(task("summary.merge", **measures))
    assert decode_record(data, Summary, bytes_max=1_000_000) == pooled_summary(ARTIFACT, list(sources.items()))


def test_three_operations_make_the_groups_of_all_holders(tmp_path: Path) -> None:
    sources = {
        name: source_of(tmp_path, f"x,sex\n{rows}\n", name=name) for name, rows in (("a", "1,f\n2,m"), ("b", "7,f"))
    }
    settings = product(task("groups.prepare"))
    measures = {name: product(task("groups.measure", source, scheduler=settings)) for name, source in sources.items()}
    data = product(task("groups.merge", **measures))
    result = decode_record(data, GroupedSummary, bytes_max=1_000_000)
    assert result == read_result(data) == federated_groups(GROUPS, list(sources.items()))
    assert [group.columns["x"].mean for group in result.groups] == [4.0, 2.0]


def test_an_inspection_lists_the_columns(tmp_path: Path) -> None:
    data = product(InspectRequest(source=source_of(tmp_path, "x,sex\n1,f\n")))
    seen = decode_record(data, Inspection, bytes_max=1_000)
    assert seen.columns == (Column(name="x", type="number"), Column(name="sex", type="text"))
    assert (seen.rows, seen.schema) == (1, schema_digest(["sex", "x"]))


def test_a_check_lists_every_column_with_its_missing_values_whatever_the_rules(tmp_path: Path) -> None:
    rules = DisclosureRules(columns=ColumnRules(hidden=frozenset({"sex"})))
    data = product(CheckRequest(source=source_of(tmp_path, "x,sex\n1,f\nNA,m\n", rules=rules)))
    report = decode_record(data, TableReport, bytes_max=1_000)
    assert [(one.name, one.type, one.missing) for one in report.columns] == [("x", "number", 1), ("sex", "text", 0)]
    assert report.rows == 2


def test_a_probe_makes_as_many_bytes_as_asked_and_counts_them() -> None:
    data = artifact_bytes(probe_artifact(b"p" * 16, ProbeParameters(tasks=2, bytes=300)))
    requests = {
        name: msgspec.structs.replace(task(f"probe.{name}"), artifact=data) for name in ("prepare", "work", "merge")
    }
    assert product(requests["prepare"]) == b""
    made = product(requests["work"])
    assert len(made) == 300 and len(set(made)) > 100
    fact = fact_of(product_digest(made), len(made))
    merge = msgspec.structs.replace(requests["merge"], inputs=(fact, fact), labels=("a", "a"))
    assert decode_record(product(merge), ProbeCount, bytes_max=100) == ProbeCount(products=2, bytes=600)
    assert fault(msgspec.structs.replace(merge, inputs=(fact, made))).code == Code.RESULT_ALTERED


def test_every_operation_has_a_program() -> None:
    assert set(child._PROGRAMS) == set(OPERATIONS)


def test_a_fault_of_the_table_keeps_its_code_sentence_and_next_step(tmp_path: Path) -> None:
    found = fault(InspectRequest(source=source_of(tmp_path, "x,x\n1,2\n")))
    assert found.code == Code.COLUMN_DUPLICATE
    assert found.sentence == 'the table of the source "patients" has two columns named "x"'
    assert found.next_step == "the holder renames one of them"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (task("summary.guess"), Code.OPERATION_UNKNOWN),
        (task("summary.measure"), Code.TASK_NOT_DERIVED),
        (msgspec.structs.replace(task("summary.merge"), labels=("a",)), Code.TASK_NOT_DERIVED),
        (msgspec.structs.replace(task("summary.prepare"), artifact=b"x"), Code.ARTIFACT_MALFORMED),
        (task("summary.merge", holder=b"\xc0"), Code.RESULT_ALTERED),
        (task("groups.measure"), Code.TASK_NOT_DERIVED),
        (task("groups.merge", holder=b"\xc0"), Code.RESULT_ALTERED),
        (msgspec.structs.replace(task("summary.prepare"), operation="groups.prepare"), Code.ARTIFACT_MALFORMED),
        (msgspec.structs.replace(task("groups.prepare"), operation="summary.prepare"), Code.ARTIFACT_MALFORMED),
        (b"", Code.BODY_MALFORMED),
    ],
)
def test_a_request_that_makes_no_sense_is_a_fault(request_: TaskRequest | bytes, code: Code) -> None:
    assert fault(request_).code == code


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert fault(data).code == Code.BODY_MALFORMED


@pytest.mark.parametrize("error", [ValueError, pl.exceptions.PanicException])
def test_a_bug_or_a_panic_is_a_fault_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error("Maria Rossi")

    monkeypatch.setattr(measuring, "read_query", fail)
    settings = product(task("summary.prepare"))
    found = fault(task("summary.measure", source_of(tmp_path, "x\n1\n"), scheduler=settings))
    assert found.code == Code.INTERNAL
    assert "Rossi" not in f"{found}"


def test_a_product_beyond_the_limit_is_refused() -> None:
    columns = [f"c{at}" for at in range(25)]
    wide = artifact_of(",".join(columns), "histogram", *(f"{name}:0:1:1000" for name in columns))
    found = fault(msgspec.structs.replace(task("summary.prepare"), artifact=artifact_bytes(wide)))
    assert found.code == Code.RESULT_TOO_LARGE


def test_memory_that_runs_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tables, "open_table", fail)
    assert fault(InspectRequest(source=source_of(tmp_path, "x\n1\n"))).code == Code.TASK_OUT_OF_MEMORY


@pytest.mark.system
@pytest.mark.parametrize("options", [[], ["--warm"]])
def test_the_program_answers_its_parent_and_ends_with_the_channel(tmp_path: Path, options: list[str]) -> None:
    source = source_of(tmp_path, "x,sex\n1,f\n")
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    command = [sys.executable, "-m", "flotta_p2p.federated.child", *options]
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    with subprocess.Popen(command, stdin=theirs.fileno(), env=environment) as process, ours:
        theirs.close()
        ours.sendall(to_frame(encode_record(InspectRequest(source=source))))
        unframer = Unframer()
        while (message := unframer.pop()) is None:
            unframer.push(ours.recv(65_536))
        ours.shutdown(socket.SHUT_RDWR)
        assert process.wait(timeout=60) == 0
    assert isinstance(decode_record(message, Product | Fault, bytes_max=1_000_000), Product)
