"""Makes the package `flame_nodes/` beside a workflow: one class for each kind of flame node, with a stub.

Node files whose content is known are not run again; a file is only written when its text changes; the class of a node
file that vanished goes. What a broken node file declared before stays, so that an editor still knows it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

import msgspec

from flame.authoring import class_text, user_code
from flame.authoring.describing import describe
from flame.authoring.faults import Fault, WorkflowFaults, fault_of
from flame.authoring.node_files import CLASSES_FOLDER, fingerprint, line_of_kind, node_files
from flame.limits import DESCRIBING_AT_ONCE_MAX
from flame.ports import NodeSchema
from protocol.errors import Code, FlottaError, StorageError, WorkflowError

_MEMORY: Final = "schemas.json"


class Kind(msgspec.Struct, frozen=True):
    """One kind of flame node. `file`: of its program, from the folder of the workflow."""

    file: str
    fingerprint: str
    schema: NodeSchema


class Generated(msgspec.Struct, frozen=True):
    """`kinds` by the name of the class; `broken`: node file to why it does not read; `twice`: name of a class that
    several files declare, which is among the broken as well; `written` and `removed`: files.
    """

    kinds: dict[str, Kind]
    broken: dict[str, tuple[Fault, ...]]
    twice: dict[str, Fault]
    written: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def faults(self) -> list[Fault]:
        return [fault for faults in self.broken.values() for fault in faults]


def generate(folder: Path) -> Generated:
    """Describe the node files in `folder` and below, and bring `flame_nodes/` up to date.

    A node file that does not read is in `broken`; the others are done all the same.

    Raises WorkflowError(WORKFLOW_WRONG)
    when there is a `flame_nodes` that is not ours, StorageError when it cannot be written.
    """
    folder = folder.resolve()
    classes = folder / CLASSES_FOLDER
    _check_ours(classes)
    known = {kind.file: kind for kind in _remembered(classes)}
    files = [str(path.relative_to(folder)) for path in node_files(folder)]
    marks = {file: fingerprint(folder / file) for file in files}
    fresh = [file for file in files if file not in known or known[file].fingerprint != marks[file]]
    found, broken = _described(folder, fresh, marks)
    kept = [found.get(file) or known[file] for file in files if file in found or file in known]
    kinds, twice = _by_name(folder, kept, broken)
    try:
        written, removed = _write(classes, kinds)
    except OSError as error:
        raise StorageError(
            Code.FOLDER_UNUSABLE, f"{classes} cannot be written: {error.strerror}", next_step="make it writable"
        ) from error
    return Generated(kinds, broken, twice, written, removed)


def _check_ours(classes: Path) -> None:
    package = classes / "__init__.py"
    if package.exists() and not package.read_bytes().startswith(class_text.MARK.encode()):
        raise WorkflowError(
            Code.WORKFLOW_WRONG,
            f"{package} was not made by flame, so it is left alone",
            next_step=f"rename that folder: flame makes its classes in {CLASSES_FOLDER}",
        )


def _remembered(classes: Path) -> list[Kind]:
    """What the last generation knew; nothing when its file is gone or does not read, since all can be had again."""
    try:
        return msgspec.json.decode((classes / _MEMORY).read_bytes(), type=list[Kind])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []


def _described(
    folder: Path, files: Sequence[str], marks: dict[str, str]
) -> tuple[dict[str, Kind], dict[str, tuple[Fault, ...]]]:
    def one(file: str) -> Kind | tuple[Fault, ...]:
        try:
            schema = describe(folder / file, cwd=folder, children=children)
            _check_names(schema, file)
        except WorkflowFaults as error:
            return error.faults
        except FlottaError as error:
            return (fault_of(error, file),)
        return Kind(file, marks[file], schema)

    children = user_code.Children()
    pool = ThreadPoolExecutor(min(DESCRIBING_AT_ONCE_MAX, os.cpu_count() or 1))
    try:
        answers = dict(zip(files, pool.map(one, files), strict=True))
    except BaseException:  # Ctrl-C: a node file that hangs is not waited for
        children.end()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    found = {file: answer for file, answer in answers.items() if isinstance(answer, Kind)}
    broken = {file: answer for file, answer in answers.items() if not isinstance(answer, Kind)}
    return found, broken


def _check_names(schema: NodeSchema, file: str) -> None:
    if class_text.identifier(schema.name) != schema.name or schema.name.startswith("_"):
        raise WorkflowError(
            Code.PORT_WRONG,
            f"{schema.name!r} cannot be the name of a kind of flame node: it becomes a Python class",
            next_step="write letters and digits, as in DriftLock",
        )
    twice = class_text.clashes(schema)
    if twice:
        raise WorkflowError(
            Code.PORT_WRONG, f"{twice} would have one name in Python", next_step="rename all of them but one"
        )


def _by_name(
    folder: Path, kinds: Sequence[Kind], broken: dict[str, tuple[Fault, ...]]
) -> tuple[dict[str, Kind], dict[str, Fault]]:
    """The first file keeps a name that two files declare; the other becomes broken. And which names those are."""
    found: dict[str, Kind] = {}
    twice: dict[str, Fault] = {}
    for kind in kinds:
        name = kind.schema.name
        if name in found:
            sentence = f"it declares a flame node {name}, as {_place(folder, found[name].file, name)} does"
            place = _place(folder, kind.file, name)
            step = "give one of them another name, or move the file that is not meant out of this folder"
            twice[name] = Fault(Code.NODE_FILE_WRONG.value, sentence, step, place)
            broken[kind.file] = (*broken.get(kind.file, ()), twice[name])
        else:
            found[name] = kind
    return found, twice


def _place(folder: Path, file: str, kind: str) -> str:
    line = line_of_kind(folder / file, kind)
    return f"{file}, line {line}" if line else file


def _write(classes: Path, kinds: dict[str, Kind]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    wanted = {"__init__.py": class_text.package_text(kinds), "__init__.pyi": class_text.package_text(kinds)}
    for name, kind in kinds.items():
        wanted[f"_{name}.py"] = class_text.class_text(kind.schema, kind.file)
        wanted[f"_{name}.pyi"] = class_text.stub_text(kind.schema, kind.file)
    classes.mkdir(exist_ok=True)
    written = tuple(name for name, text in wanted.items() if _write_changed(classes / name, text.encode()))
    removed = tuple(path.name for path in _old(classes, wanted))
    for name in removed:
        (classes / name).unlink(missing_ok=True)
    memory = msgspec.json.format(msgspec.json.encode(sorted(kinds.values(), key=lambda kind: kind.file)), indent=1)
    _write_changed(classes / _MEMORY, memory + b"\n")
    return written, removed


def _write_changed(path: Path, data: bytes) -> bool:
    """Whole or not at all, so that an editor or a second `flame` never reads half a file."""
    if path.exists() and path.read_bytes() == data:
        return False
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)
    # Python takes a compiled file for this one if both have one size and were written within one second.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)
    return True


def _old(classes: Path, wanted: dict[str, str]) -> list[Path]:
    mark = class_text.MARK.encode()
    others = (path for path in sorted(classes.glob("_*.py*")) if path.is_file() and path.name not in wanted)
    return [path for path in others if path.read_bytes().startswith(mark)]
