"""The parameters file: `{"node": {"input": value}}`, kept by the user, healed by `flame params`.

Beside plain JSON a value may be one of the forms of `flame.types.portable` (NaN, bytes), and

    {"$eui": "#/last/calib/f0"}     the value at an address in an earlier run
    {"$missing": "float in MHz"}    no value yet: written by `flame params`, to be replaced

null is a value where the type of the input allows None; elsewhere it is a value that is missing. What belongs to no
input any more is kept below `"_unused"`. A file that does not read is never written.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from flame.authoring.class_text import input_doc
from flame.authoring.faults import Fault, WorkflowFaults, shown
from flame.authoring.workflow import UNUSED
from flame.limits import PARAMETERS_BYTES_MAX
from flame.ports import InputPort
from flame.types import port_types, portable
from protocol.errors import Code, StorageError

MISSING_MARK: Final = "$missing"
ADDRESS_MARK: Final = "$eui"
FILE_NAME: Final = "parameters.json"

Values = dict[str, dict[str, Any]]


class ParametersFile(msgspec.Struct, frozen=True):
    """What the file says: values as they stand in it, by node and input. `text` is "" when there is no file."""

    path: Path
    values: Values = {}
    unused: Values = {}
    text: str = ""

    def given(self, node: str, port: InputPort) -> tuple[Any] | None:
        """What stands there for an input, in a tuple; None when its value is missing."""
        held = self.values.get(node, {}).get(port.name, _ABSENT)
        if held is _ABSENT or _marked(held, MISSING_MARK) or (held is None and port_types.fits("None", port.type)):
            return None
        return (held,)

    def place(self, node: str, name: str = "") -> str:
        """ "parameters.json, line 4": where a node, or one of its inputs, is named."""
        at = _named(self.text, node, 0)
        at = _named(self.text, name, at) if name else at
        return f"{shown(self.path)}, line {self.text.count(chr(10), 0, at) + 1}"


_BEGINS_JSON: Final = ("{", "[", '"')  # what begins so is meant as JSON
_ABSENT: Final = object()


def address_of(held: Any) -> str | None:
    """The address, if what stands in the file is one."""
    return held[ADDRESS_MARK] if _marked(held, ADDRESS_MARK) and isinstance(held[ADDRESS_MARK], str) else None


def read(path: Path, *, required: bool = False) -> ParametersFile:
    """Raises WorkflowError(PARAMETERS_MALFORMED) with line and column. A file that is not there has no values."""
    try:
        if path.exists() and not path.is_file():
            _malformed(path, "it is no file", "write the parameters into a file")
        with path.open("rb") as file:
            data = file.read(PARAMETERS_BYTES_MAX + 1)
    except FileNotFoundError:
        return _malformed(path, "the file does not exist", "correct its name") if required else ParametersFile(path)
    except OSError as error:
        _malformed(path, f"the file cannot be read: {error.strerror}", "let this user read it")
    if len(data) > PARAMETERS_BYTES_MAX:
        _malformed(path, f"it is larger than {PARAMETERS_BYTES_MAX} bytes", "keep large data in files of their own")
    text = _decoded(path, data)
    whole = _parsed(path, text)
    _check_form(path, whole)
    unused = whole.pop(UNUSED, {})
    return ParametersFile(path, whole, unused, text)


def value_of_text(text: str) -> Any:
    """One value as it would stand in the file, in the form of `flame.types.portable`; what is no JSON is text.

    Raises WorkflowError(PARAMETERS_MALFORMED | VALUE_WRONG).
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith(_BEGINS_JSON):
            return portable.dump(text)
        why = _in_words(error)
    except _FormError as error:
        why = str(error)
    except (RecursionError, ValueError):  # ValueError: of Python's own, for an int of thousands of digits
        why = "it is nested too deeply, or has too many digits"
    step = "write a number, text in quotes, true, null or a list as in parameters.json"
    raise WorkflowFaults([Fault(Code.PARAMETERS_MALFORMED.value, f"{text[:40]!r} is no value: {why}", step)])


def healed(file: ParametersFile, inputs: dict[str, list[InputPort]], missing: dict[str, list[InputPort]]) -> Values:
    """What the file should hold. `inputs`: those without an edge, by node; `missing`: those of them without a value.

    What the user wrote stays, in its place. What belongs to no input goes below "_unused", and comes back from there
    when its input does.
    """
    kept: Values = {}
    unused = {node: dict(values) for node, values in file.unused.items()}
    for node, values in file.values.items():
        names = {port.name for port in inputs.get(node, ())}
        for name, held in values.items():
            if name in names:
                kept.setdefault(node, {})[name] = held
            elif not _marked(held, MISSING_MARK) and held is not None:
                unused.setdefault(node, {})[name] = held
    for node, ports in inputs.items():
        absent = {port.name for port in missing.get(node, ())}
        for port in ports:
            here = kept.get(node, {})
            if port.name in unused.get(node, {}) and here.get(port.name) is None:
                kept.setdefault(node, {})[port.name] = unused[node].pop(port.name)
            elif port.name in absent and here.get(port.name) is None:
                kept.setdefault(node, {})[port.name] = {MISSING_MARK: input_doc(port)}
    left = {node: values for node, values in unused.items() if values}
    return {**kept, UNUSED: left} if left else kept


def write(path: Path, values: Values) -> bool:
    """Whole or not at all; False when the file says so already. Raises StorageError."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if not _is_utf8(text):  # half of a character, which JSON can spell and UTF-8 cannot
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    if not values and not path.exists():
        return False
    try:
        if path.exists() and json.loads(path.read_text("utf-8-sig"), parse_constant=_constant) == values:
            return False
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StorageError(
            Code.FOLDER_UNUSABLE, f"{path} cannot be written: {error.strerror}", next_step="make its folder writable"
        ) from error
    return True


# --- reading -----------------------------------------------------------------------------------


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _malformed(path, "it is not UTF-8 text", "save it as UTF-8", line)


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        step = "correct the file; it was not changed"
        return _malformed(path, _in_words(error), step, error.lineno, error.colno)
    except _FormError as error:
        return _malformed(path, str(error), "correct the file; it was not changed")
    except RecursionError:
        return _malformed(path, "it is nested too deeply", "correct the file; it was not changed")
    except ValueError:  # of Python's own, for an int of thousands of digits
        return _malformed(path, "it holds a number with too many digits", "correct the file; it was not changed")


class _FormError(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _FormError(f"{twice!r} is given twice in one pair of braces")
    return found


def _constant(text: str) -> Any:
    """NaN and Infinity, as Python's own json writes them."""
    return {"$float": {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}[text]}


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _FormError(f"{text} is too large for a float")
    return value


def _in_words(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :].lstrip()
    if not error.doc.strip():
        return "it is empty; an empty file of parameters is {}"
    if not rest:
        return "it ends too early"
    return f"{error.msg[0].lower()}{error.msg[1:]}, seen {rest[:12].splitlines()[0]!r}"


def _check_form(path: Path, whole: Any) -> None:
    step = 'write {"node": {"input": value}}'
    if not isinstance(whole, dict):
        _malformed(path, "it is no map of flame nodes", step)
    unused = whole.get(UNUSED, {})
    if not isinstance(unused, dict):
        _malformed(path, f"{UNUSED!r} is no map of flame nodes", step)
    for node, values in (*whole.items(), *unused.items()):
        if not isinstance(values, dict):
            _malformed(path, f"{node!r} is no map of inputs", step)


def _malformed(path: Path, sentence: str, next_step: str, line: int = 0, column: int = 0) -> NoReturn:
    place = shown(path) + (f", line {line}" if line else "") + (f", column {column}" if column else "")
    raise WorkflowFaults([Fault(Code.PARAMETERS_MALFORMED.value, sentence, next_step, place)])


def _marked(held: Any, mark: str) -> bool:
    return isinstance(held, dict) and len(held) == 1 and mark in held


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(text: str, name: str, start: int) -> int:
    found = re.compile(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:").search(text, start)
    return found.start() if found else start
