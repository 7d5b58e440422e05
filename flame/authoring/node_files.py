"""Which Python files below a workflow are node files, and whether one has changed since it was described.

Files are read, never run. A node file imports flame and calls `register()`.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flame.limits import NODE_FILE_BYTES_MAX, NODE_FILES_MAX
from flame.ports import SCHEMA_VERSION
from flame.run.run_folder import RUNS_FOLDER
from protocol.errors import Code, WorkflowError

CLASSES_FOLDER: Final = "flame_nodes"
_SKIPPED: Final = frozenset({CLASSES_FOLDER, RUNS_FOLDER, "__pycache__", "node_modules", "site-packages"})


def node_files(folder: Path) -> list[Path]:
    """Node files in `folder` and below, in the order of their paths. Raises WorkflowError(WORKFLOW_WRONG)."""
    return [path for path in _python_files(folder) if _is_node_file(path)]


def fingerprint(file: Path) -> str:
    """Changes when the file does, or a module of its folder that it imports, or the interpreter."""
    file = file.resolve()
    digest = hashlib.sha256(f"{SCHEMA_VERSION} {sys.version} {sys.prefix}".encode())
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path in seen or len(seen) == NODE_FILES_MAX:
            continue
        seen.add(path)
        source = read_source(path)
        digest.update(f"\0{path.relative_to(file.parent)}\0{len(source)}\0".encode(errors="replace") + source)
        waiting += sorted(_local_modules(source, file.parent, path.parent), reverse=True)
    return digest.hexdigest()


def is_generated(file: str) -> bool:
    """Whether a file of this path is one of the classes that flame made."""
    return Path(file).parent.name == CLASSES_FOLDER


def line_of_kind(file: Path, kind: str) -> int:
    """The line in which a node file names the kind that it declares; 0 when it is not written there as a text. A file
    that Python does not read is searched as a text.
    """
    source = read_source(file)
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
        lines = [one.lineno for one in calls if isinstance(one.args[0], ast.Constant) and one.args[0].value == kind]
    except (SyntaxError, ValueError):
        found = re.search(rf"""Node\(\s*["']{re.escape(kind)}["']""".encode(), source)
        lines = [source.count(b"\n", 0, found.start()) + 1] if found else []
    return min(lines, default=0)


def _python_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _is_skipped(here / name))
        found += [here / name for name in sorted(files) if name.endswith(".py")]
        if len(found) > NODE_FILES_MAX:
            raise WorkflowError(
                Code.WORKFLOW_WRONG,
                f"more than {NODE_FILES_MAX} Python files lie below {folder}",
                next_step="give the workflow a folder of its own",
            )
    return found


def _is_skipped(folder: Path) -> bool:
    """Environments of Python hold thousands of files that are not the user's."""
    return folder.name.startswith(".") or folder.name in _SKIPPED or (folder / "pyvenv.cfg").exists()


def _is_node_file(path: Path) -> bool:
    source = read_source(path)
    if b"register" not in source or b"flame" not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # it means to be one; describing it names the line
    imports = {name.split(".")[0] for name in _imported(tree)}
    return "flame" in imports and any(_is_register(node) for node in ast.walk(tree))


def _is_register(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "register"


def _local_modules(source: bytes, *folders: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for name in _imported(tree):
        for folder in folders:
            path = folder.joinpath(*name.split("."))
            yield from (one for one in (path.with_name(path.name + ".py"), path / "__init__.py") if one.is_file())


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def read_source(path: Path) -> bytes:
    """b"" for a file that cannot be read, is no program by its size, or is none at all: a pipe would be waited for."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            data = file.read(NODE_FILE_BYTES_MAX + 1)
    except OSError:
        return b""
    return data if len(data) <= NODE_FILE_BYTES_MAX else b""
