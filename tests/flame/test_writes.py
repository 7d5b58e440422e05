"""The rule of `flame write`: who may write what into a run that goes on."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from flame.graph import Edge, Graph, GraphNode, Writable
from flame.ports import InputPort, NodeSchema, OutputPort
from flame.run import write_request
from flame.run.writes import (
    Author,
    WriteRequest,
    checked,
    is_granted,
    is_known,
    judge,
    names_others,
    opened,
    why_unwritable,
    writable_inputs,
)
from flame.types.portable import dump, load
from flame.values import encode
from protocol.errors import Code, DeniedError, FlottaError, WorkflowError
from tests.flame.test_any_input import KEYS, TYPES, VALUES

OWNER = Author(1000, "tom", frozenset({"tom"}))
ANNA = Author(1001, "anna", frozenset({"anna"}))
GUEST = Author(1002, "guest", frozenset({"guest", "lab"}))
ROOT = Author(0, "root", frozenset({"root", "wheel"}))
NAMELESS = Author(4711, "user 4711")

SCHEMA = NodeSchema(
    "Lock",
    "lock.py",
    inputs=(
        InputPort("target", "state", "float", unit="MHz", limits=(0, 100)),
        InputPort("label", "state", "str"),
        InputPort("curve", "state", "f8[3]"),
        InputPort("gain", "state", "float | None"),
        InputPort("anything", "state"),
        InputPort("closed", "state", "float"),
        InputPort("fed", "state", "float"),
        InputPort("trace", "flow"),
    ),
    outputs=(OutputPort("beat"),),
)
GRAPH = Graph(
    "lab",
    (
        GraphNode(
            "lock",
            "lock.py",
            SCHEMA,
            writable=(
                Writable("target", ("anna", "@lab")),
                *(Writable(name) for name in ("label", "curve", "gain", "anything", "fed", "trace")),
            ),
        ),
        GraphNode("source", "source.py", NodeSchema("Source", "source.py", outputs=(OutputPort("level"),))),
    ),
    (Edge("source", "level", "lock", "fed", "latest", 1),),
)


@pytest.mark.parametrize(
    ("author", "name", "is_allowed"),
    [
        (OWNER, "target", True),
        (OWNER, "label", True),
        (ANNA, "target", True),
        (ANNA, "label", False),
        (GUEST, "target", True),
        (GUEST, "label", False),
        (ROOT, "target", False),
        (NAMELESS, "target", False),
        (Author(1003, "@lab"), "target", False),  # a user cannot be called like a group
        (Author(1004, "x", frozenset({"anna"})), "target", False),  # nor a group like a user
        (Author(1000, "somebody else's name"), "label", True),  # the number counts, and not the name
        (Author(1005, "tom"), "label", False),
    ],
)
def test_an_input_is_written_by_the_user_who_runs_it_and_by_those_who_are_named(
    author: Author, name: str, is_allowed: bool
) -> None:
    request = WriteRequest("lock", name, 81.5 if name == "target" else "a")
    if is_allowed:
        assert judge(GRAPH, OWNER.uid, author, request) == request.value
        return
    with pytest.raises(DeniedError) as refused:
        judge(GRAPH, OWNER.uid, author, request)
    assert refused.value.code is Code.WRITE_REFUSED
    assert f"{author.name} (uid {author.uid}) may not write lock/{name}" in refused.value.sentence
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("node", "name", "code", "words"),
    [
        ("lokc", "target", Code.NOTHING_THERE, "no flame node 'lokc'; nearest: lock"),
        ("lock", "tagret", Code.NOTHING_THERE, "lock has no input 'tagret'; nearest: target"),
        ("lock", "beat", Code.NOTHING_THERE, "lock has no input 'beat'"),
        ("lock", "fed", Code.WRITE_REFUSED, "lock/fed is fed by the output source/level"),
        ("lock", "trace", Code.WRITE_REFUSED, "lock/trace is a flow"),
        ("lock", "closed", Code.WRITE_REFUSED, "the workflow does not open lock/closed for writing; of lock it opens"),
        ("source", "x", Code.NOTHING_THERE, "source has no input 'x'; it has none"),
    ],
)
def test_what_cannot_be_written_is_refused_to_everybody_with_the_reason(
    node: str, name: str, code: Code, words: str
) -> None:
    for author in (OWNER, ROOT):
        with pytest.raises(FlottaError) as refused:
            judge(GRAPH, OWNER.uid, author, WriteRequest(node, name, 1.0))
        assert refused.value.code is code and words in refused.value.sentence and refused.value.next_step


@pytest.mark.parametrize(
    ("name", "held", "taken"),
    [
        ("target", 81.5, 81.5),
        ("target", 0, 0.0),
        ("target", 100, 100.0),
        ("label", "fast", "fast"),
        ("label", "", ""),
        ("curve", [1, 2, 3], {"$array": ["<f8", [3], [1.0, 2.0, 3.0]]}),
        ("gain", None, None),
        ("gain", {"$float": "nan"}, {"$float": "nan"}),
        ("anything", {"a": [1, None]}, {"a": [1, None]}),
    ],
)
def test_a_value_is_taken_as_the_input_declares_it(name: str, held: Any, taken: Any) -> None:
    answer = judge(GRAPH, OWNER.uid, OWNER, WriteRequest("lock", name, held))
    assert msgspec.json.encode(answer) == msgspec.json.encode(taken)


@pytest.mark.parametrize(
    ("name", "held", "words"),
    [
        ("target", -0.1, "-0.1 is outside of what is allowed, from 0 to 100 MHz"),
        ("target", 100.5, "outside of what is allowed"),
        ("target", {"$float": "nan"}, "nan is outside"),
        ("target", {"$float": "inf"}, "inf is outside"),
        ("target", "81.5 MHz", "is no float"),
        ("target", None, "is no float"),
        ("target", True, "is no float"),
        ("target", {"$eui": "#/j1/lock/beat"}, "'$eui' is none of"),
        ("label", 5, "is no str"),
        ("curve", [1, 2], "lock/curve: "),
        ("curve", {"$array": ["<f8", [10**12], []]}, "malformed"),
        ("anything", {"$bytes": "%"}, "malformed"),
        ("anything", 2**70, "more than 64 bits"),
    ],
)
def test_a_value_outside_of_type_and_limits_is_refused(name: str, held: Any, words: str) -> None:
    with pytest.raises(WorkflowError) as refused:
        judge(GRAPH, OWNER.uid, OWNER, WriteRequest("lock", name, held))
    assert refused.value.code is Code.VALUE_WRONG and words in refused.value.sentence and refused.value.next_step


LIMITS = [(None, None), (0.0, 1.0), (None, 5.0), (-3.0, None)]


@given(some.sampled_from(TYPES), some.sampled_from(LIMITS), VALUES | some.just([]) | some.lists(some.lists(KEYS)))
@settings(max_examples=400, deadline=None)
def test_whatever_is_written_is_taken_or_is_refused(
    kind: str, limits: tuple[float | None, float | None], held: Any
) -> None:
    port = InputPort("x", "state", kind, limits=limits)
    with suppress(WorkflowError):
        encode(load(checked(port, held, "lock/x")))


@pytest.mark.parametrize("limits", LIMITS)
def test_an_empty_array_is_within_any_limits(limits: tuple[float | None, float | None]) -> None:
    taken = checked(InputPort("x", "state", "f8[*]", limits=limits), [], "lock/x")
    assert load(taken).shape == (0,)


def test_a_value_nested_without_end_is_refused() -> None:
    held: Any = 1
    for _ in range(20_000):
        held = [held]
    with pytest.raises(WorkflowError, match="nested too deeply"):
        judge(GRAPH, OWNER.uid, OWNER, WriteRequest("lock", "anything", held))


@pytest.mark.parametrize("shape", [[0, 2**62], [0, 2**70], [2**62], [-1, 0], [1.5], "x", None])
def test_an_array_of_a_size_that_cannot_be_is_refused_or_taken(shape: Any) -> None:
    for name in ("anything", "curve"):
        with suppress(WorkflowError):
            judge(GRAPH, OWNER.uid, OWNER, WriteRequest("lock", name, {"$array": ["|b1", shape, []]}))
    wide = InputPort("curve", "state", "f8[*]", limits=(0, 1))
    with suppress(WorkflowError):
        checked(wide, {"$array": ["|i1", shape, []]}, "lock/curve")


def test_a_text_with_a_unit_is_told_that_the_number_stands_alone() -> None:
    with pytest.raises(WorkflowError) as refused:
        judge(GRAPH, OWNER.uid, OWNER, WriteRequest("lock", "target", "81.5 MHz"))
    assert refused.value.next_step == "write the number alone: it is taken in MHz"


def test_a_flame_node_that_has_ended_is_not_written() -> None:
    with pytest.raises(DeniedError, match="has ended"):
        judge(GRAPH, OWNER.uid, OWNER, WriteRequest("lock", "target", 1.0), has_ended=True)


def test_who_is_not_granted_is_refused_before_the_value_is_looked_at() -> None:
    with pytest.raises(DeniedError):
        judge(GRAPH, OWNER.uid, ROOT, WriteRequest("lock", "target", "nonsense"))


def test_inputs_that_cannot_be_written_are_not_open_though_they_are_granted() -> None:
    assert [port.name for _, port in writable_inputs(GRAPH)] == ["target", "label", "curve", "gain", "anything"]
    assert opened(GRAPH, "lock", "target")[1].by == ("anna", "@lab")


def test_a_run_is_open_to_others_only_where_somebody_is_named() -> None:
    closed = msgspec.structs.replace(GRAPH.nodes[0], writable=(Writable("target"),))
    assert names_others(GRAPH)
    assert not names_others(msgspec.structs.replace(GRAPH, nodes=(closed,)))
    assert [is_known(GRAPH, one, OWNER.uid) for one in (OWNER, ANNA, GUEST, ROOT)] == [True, True, True, False]
    assert not is_granted(Writable("target"), ANNA, OWNER.uid)


def test_a_schema_tells_why_an_input_is_never_written() -> None:
    assert why_unwritable("lock", SCHEMA, "target") == ("", "")
    assert "fed by the output a/b" in why_unwritable("lock", SCHEMA, "target", "a/b")[0]


# --- what travels ------------------------------------------------------------------------------------------------


def test_a_request_and_answers_are_one_line_each() -> None:
    request = WriteRequest("lock", "label", dump("two\nlines"))
    line = write_request.encode(request)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert write_request.read_request(line.rstrip()) == request
    assert write_request.encode(write_request.Accepted(3, 7, "anna")).count(b"\n") == 1


@given(some.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_request_or_are_refused(data: bytes) -> None:
    try:
        request = write_request.read_request(data)
    except ValueError:
        return
    with pytest.raises(FlottaError):
        judge(GRAPH, OWNER.uid, NAMELESS, request)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'{"node": "lock"}',
        b'{"node": 1, "input": "x", "value": 1}',
        b'{"node": "lock", "input": "target", "value": ',
        b'{"node": "lock", "input": "target", "value": ' + b"[" * 100_000,
        b'{"node": "' + b"n" * 1_000 + b'", "input": "x", "value": 1}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        write_request.read_request(line)


def test_unknown_keys_of_a_request_are_passed_over_and_no_name_in_it_counts() -> None:
    request = write_request.read_request(b'{"node":"lock","input":"target","value":1.5,"author":"anna","uid":1001}')
    assert request == WriteRequest("lock", "target", 1.5)


def test_a_socket_before_which_others_crowd_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "write")
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as crowd:
        listener.bind(path)
        listener.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                one = crowd.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(path)
        late, mine = (crowd.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        with pytest.raises(TimeoutError):
            write_request._connect(late, path, 0.0)
        monkeypatch.setattr(time, "sleep", lambda _: crowd.enter_context(listener.accept()[0]))
        write_request._connect(mine, path, time.monotonic() + 60)
        assert mine.getpeername() == path
