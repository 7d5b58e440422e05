"""Runs as they lie on disk: which there are, what is written down of each, whether one is still running.

Any process may look, while a run is running and for ever afterwards. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from flame.graph import Graph, GraphNode
from flame.limits import RUN_JSON_BYTES_MAX
from flame.locks import is_file_locked, is_locked
from flame.names.address import LAST_WORD, to_text
from flame.nearest import nearest
from flame.ordinary_files import open_ordinary
from flame.refusals import refusal
from flame.run import run_record
from flame.run.run_folder import RUNS_FOLDER, RunFolder, all_runs, find_runs, is_alias
from flame.run.run_record import RunDocument, RunResult
from flame.run.whole_files import read_whole
from protocol.errors import Code, StorageError, WorkflowError


class Run:
    """One run. `document` is as it was when the run was looked up: only taking it up again changes it on the disk.
    `result` and `is_running` are read anew each time.
    """

    def __init__(self, folder: RunFolder, document: RunDocument) -> None:
        self.folder = folder
        self.document = document

    @property
    def alias(self) -> str:
        return self.folder.alias

    @property
    def graph(self) -> Graph:
        return self.document.graph

    @property
    def result(self) -> RunResult | None:
        """None while it is running, and after a crash of the executor. Raises StorageError."""
        try:
            return run_record.read_result(read_whole(self.folder.result, RUN_JSON_BYTES_MAX))
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise unreadable(self.folder.result, error) from error

    @property
    def is_running(self) -> bool:
        """Whether its executor lives: it holds the lock of the run's folder as long as it does. Raises StorageError."""
        try:
            descriptor = open_ordinary(self.folder.lock)
        except FileNotFoundError:
            return False
        except PermissionError:  # a run of another user
            return is_file_locked(self.folder.lock)
        except OSError as error:
            raise unreadable(self.folder.lock, error) from error
        try:
            return is_locked(descriptor)
        finally:
            os.close(descriptor)

    @property
    def state(self) -> str:
        """`running`, how it ended, or `broken off`: the executor died, or the power went."""
        if self.is_running:
            return "running"
        result = self.result
        return result.end if result is not None else "broken off"

    @property
    def may_go_on(self) -> bool:
        """Whether a node has it that may try it again, without a command. Raises StorageError."""
        return bool(self.document.workdir) and self.result is None

    def node(self, name: str) -> GraphNode:
        """Raises WorkflowError(NOTHING_THERE) with the nearest names."""
        for node in self.graph.nodes:
            if node.name == name:
                return node
        names = [node.name for node in self.graph.nodes]
        raise nothing_there(
            f"{to_text(self.alias, name)}: run {self.alias} has no flame node {name!r}; {nearest(name, names)}",
            to_text(self.alias),
        )


class Unreadable(NamedTuple):
    """A run of which the document cannot be read, and why."""

    alias: str
    error: StorageError


def load(folder: RunFolder) -> Run:
    """Raises FileNotFoundError when nothing is written down of it yet, StorageError."""
    try:
        return Run(folder, run_record.read_document(read_whole(folder.document, RUN_JSON_BYTES_MAX)))
    except FileNotFoundError:
        raise
    except (OSError, msgspec.DecodeError) as error:
        raise unreadable(folder.document, error) from error


def workflow_of(run: Run) -> Path:
    """What is run again lies beside the runs. Another place is believed only when these are its runs: the folder may
    have come from another machine, or from somebody else.
    """
    runs, recorded = run.folder.path.parent, Path(run.graph.workflow_file)
    with contextlib.suppress(OSError):
        if (recorded.parent / RUNS_FOLDER).samefile(runs):
            return recorded
    return runs.absolute().parent / recorded.name


def runs_folder(start: Path) -> Path:
    """The nearest `flame_runs`, in `start` or above. Raises WorkflowError(RUN_UNKNOWN)."""
    found = find_runs(start.absolute())
    if found is None:
        raise _unknown(
            f"there is no folder {RUNS_FOLDER} in {start.absolute()} or above it, so no run is known here",
            "change to the folder of the workflow, or name the folder of its runs with --runs",
        )
    return found


def newest_first(runs: Path) -> Iterator[Run]:
    """One whose folder was just made, and has no document yet, is passed over. Raises StorageError at one that cannot
    be read.
    """
    for run in looked_through(runs):
        if isinstance(run, Unreadable):
            raise run.error
        yield run


def looked_through(runs: Path) -> Iterator[Run | Unreadable]:
    """The newest first; where one cannot be read, the others still come."""
    for folder in reversed(all_runs(runs)):
        try:
            yield load(folder)
        except FileNotFoundError:
            continue
        except StorageError as error:
            yield Unreadable(folder.alias, error)


def find_run(runs: Path, word: str, node: str = "") -> Run:
    """`word`: an alias, the text of a job id, `last`, "" for the newest. `last` is the newest run that has ended, and
    when `node` is given the newest of those with this flame node.

    Raises WorkflowError(RUN_UNKNOWN), StorageError.
    """
    if is_alias(word):
        try:
            return load(RunFolder(runs, word))
        except FileNotFoundError:
            names = [folder.alias for folder in all_runs(runs)]
            raise _unknown(f"there is no run {word} below {runs}; {nearest(word, names)}") from None
    fits = _Fits(word, node)
    for run in newest_first(runs):
        if fits(run):
            return run
    raise _unknown(f"there is no {fits} below {runs}")


class _Fits:
    """Whether a run is the one that `word` means, asked from the newest on."""

    def __init__(self, word: str, node: str) -> None:
        self._word = word
        self._node = node

    def __call__(self, run: Run) -> bool:
        if self._word == LAST_WORD:
            has_node = not self._node or any(node.name == self._node for node in run.graph.nodes)
            return has_node and not run.is_running
        return self._word in ("", run.document.id)

    def __str__(self) -> str:
        if self._word == LAST_WORD:
            return "run that has ended" + (f" and has a flame node {self._node!r}" if self._node else "")
        return f"run with the id {self._word}" if self._word else "run"


def nothing_there(sentence: str, look_at: str) -> WorkflowError:
    """`look_at`: the address whose list shows what is there."""
    return WorkflowError(Code.NOTHING_THERE, sentence, next_step=f"`flame ls '{look_at}'`")


def unreadable(path: Path, error: Exception) -> StorageError:
    if isinstance(error, OSError) and (refused := refusal(error)).code is Code.FOLDER_UNUSABLE:
        return StorageError(
            refused.code, f"{path} cannot be read: {refused.why}", next_step="ask its owner to let you read it"
        )
    return StorageError(
        Code.FOLDER_UNUSABLE,
        f"{path} cannot be read: {error}",
        next_step="bring the file back from a copy; the values of the run lie beside it and are not touched",
    )


def _unknown(sentence: str, next_step: str = "`flame ps` lists the runs") -> WorkflowError:
    return WorkflowError(Code.RUN_UNKNOWN, sentence, next_step=next_step)
