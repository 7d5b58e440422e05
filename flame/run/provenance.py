"""Where a run comes from: its files with their SHA-256, the state of their repository, machine, user, versions."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from threading import Timer
from typing import Final

from flame.graph import Graph
from flame.limits import GIT_DIFF_BYTES_MAX, GIT_S_MAX, SOURCE_BYTES_MAX, SOURCES_MAX
from flame.run.run_record import Provenance, Source

_PACKAGES: Final = ("flotta-p2p", "numpy", "h5py", "pyzmq", "msgspec", "lmdb")


def source_files(graph: Graph) -> dict[str, Path]:
    """Every file that a run of `graph` may execute, by its name in `sources/`: the workflow, the programs of its flame
    nodes and their safe programs, and the other Python files beside any of these, which they may import.
    """
    programs = [Path(graph.workflow_file)] if graph.workflow_file else []
    for node in graph.nodes:
        programs.append(Path(node.file))
        if node.schema.safe:
            programs.append(safe_program(node.file, node.schema.safe))
    home = Path(os.path.normpath(graph.workflow_file)).parent if graph.workflow_file else None
    beside = (file for folder in dict.fromkeys(one.parent for one in programs) for file in sorted(folder.glob("*.py")))
    files: dict[str, Path] = {}
    named = (Path(os.path.normpath(file)) for file in (*programs, *beside))  # "../off.py" is not below its folder
    for file in dict.fromkeys(named):
        if file.is_file() and len(files) < SOURCES_MAX:
            files.setdefault(_name(file, home), file)
    return files


def safe_program(node_file: str, safe: str) -> Path:
    """A flame node names its safe program relative to its own file."""
    return Path(node_file).parent / safe


def hashes(files: dict[str, Path]) -> tuple[Source, ...]:
    """Raises OSError when one cannot be read."""
    return tuple(Source(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in sorted(files.items()))


def copy_sources(files: dict[str, Path], folder: Path) -> None:
    """Raises OSError. A file that is larger than any program stays where it is; its hash is kept all the same."""
    for name, path in files.items():
        if path.stat().st_size <= SOURCE_BYTES_MAX:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)  # with its mode: what others may not read they may not read here


def provenance(graph: Graph, sources: tuple[Source, ...]) -> Provenance:
    """Asks git, which may not be there; each question has a limit."""
    folder = Path(graph.workflow_file).parent if graph.workflow_file else Path.cwd()
    diff = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
    commit = _git(folder, ("rev-parse", "HEAD"), 256).strip()
    return Provenance(
        sources=sources,
        commit=commit,
        diff=_git(folder, diff, GIT_DIFF_BYTES_MAX) if commit else "",
        host=socket.gethostname(),
        user=_user(),
        versions={"python": platform.python_version(), **dict(_versions(_PACKAGES))},
    )


def _name(file: Path, home: Path | None) -> str:
    """Below the folder of the workflow its path there; elsewhere its name behind a hash of its folder."""
    if home is not None and file.is_relative_to(home):
        return file.relative_to(home).as_posix()
    return f"{hashlib.sha256(str(file.parent).encode()).hexdigest()[:8]}/{file.name}"


def _git(folder: Path, arguments: Sequence[str], bytes_max: int) -> str:
    """What git says, cut to `bytes_max`; "" when there is no git, no repository, or no answer in time."""
    command = ("git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments)  # asking runs nothing
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        ) as git:
            return _said(git, bytes_max)
    except OSError:
        return ""


def _said(git: subprocess.Popen[bytes], bytes_max: int) -> str:
    limit = Timer(GIT_S_MAX, git.kill)
    limit.start()
    try:
        assert git.stdout is not None
        data = git.stdout.read(bytes_max)
        git.stdout.close()  # one that has more to say ends by it
        cut = len(data) == bytes_max
        return data.decode("utf-8", "replace") if git.wait() == 0 or cut else ""
    finally:
        limit.cancel()
        limit.join()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name
        return str(os.getuid())


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in packages:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
