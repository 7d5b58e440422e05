"""Whether a flame node declares what the run was checked with."""

from __future__ import annotations

import re

import msgspec
import pytest

from flame.ports import Given, InputPort, NodeSchema, OutputPort
from flame.run.declared import check_declared
from protocol.errors import Code, WorkflowError

GAIN = InputPort("gain", "state", "float", "V", default=Given({"$float": "nan"}), limits=(0.0, None))
BEAT = OutputPort("beat", "permanent", "float", "MHz")
LOCK = NodeSchema("Lock", "lock.py", (GAIN,), (BEAT,), ("integral",))


def test_what_is_declared_alike_is_accepted_however_it_came() -> None:
    check_declared("lock.py", LOCK, msgspec.msgpack.decode(msgspec.msgpack.encode(LOCK), type=NodeSchema))
    check_declared("lock.py", msgspec.json.decode(msgspec.json.encode(LOCK), type=NodeSchema), LOCK)


def test_texts_for_people_may_differ() -> None:
    gain = msgspec.structs.replace(GAIN, doc="of the lock")
    check_declared("lock.py", LOCK, msgspec.structs.replace(LOCK, description="locks", icon="x", inputs=(gain,)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"inputs": ()}, "input 'gain' is gone"),
        ({"outputs": (BEAT, OutputPort("error"))}, "output 'error' is new"),
        ({"inputs": (msgspec.structs.replace(GAIN, unit="mV"),)}, 'input \'gain\' has unit "mV", and had "V"'),
        ({"inputs": (msgspec.structs.replace(GAIN, default=Given(1)),)}, "input 'gain' has default"),
        ({"outputs": (msgspec.structs.replace(BEAT, lifetime="runtime"),)}, "output 'beat' has lifetime \"runtime\""),
        ({"memory": ()}, "memory is nothing, and was integral"),
        ({"safe": "off.py"}, "safe is 'off.py', and was ''"),
    ],
)
def test_another_declaration_is_refused_and_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(WorkflowError, match=re.escape(sentence)) as raised:
        check_declared("lock.py", LOCK, msgspec.structs.replace(LOCK, **changes))
    assert raised.value.code is Code.NODE_FILE_WRONG
    assert raised.value.sentence.startswith("lock.py declares other than")
