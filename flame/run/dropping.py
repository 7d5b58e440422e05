"""Finite values of runs that have ended: those without `keep` stay until the next run of their workflow has ended,
the others until their time is over.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

import lmdb

from flame.graph import Graph
from flame.journal import Journal, JournalReader, Keeping, Taker
from flame.journal.index import FOLDER as INDEX
from flame.journal.keeping import Choice, drop_next
from flame.journal.segments import TornError, segment_name, segment_numbers
from flame.run.run_folder import RunFolder
from flame.run.runs import Run, looked_through
from flame.run.wires import gets_every_value, journalled_outputs
from protocol.errors import FlottaError


def drop_finite_values(after: RunFolder, graph: Graph) -> None:
    """`after`: a run of the workflow that has ended, `graph` its graph. Of the runs before it, finite values whose time
    is over go; their newest values stay.

    Left alone: a run that goes on or was broken off, what a run that could be resumed still has to take, a journal that
    is damaged, of somebody else, or on a full disk, and a run in which a link leads elsewhere. Raises nothing for what
    the disk refuses: the end of the next run looks again.

    An index that is torn may end the process that opens it: for a process of its own, `actors.flame_chore`.
    """
    with contextlib.suppress(FlottaError, OSError):
        _drop_before(after, graph)


def _drop_before(after: RunFolder, graph: Graph) -> None:
    for run in looked_through(after.path.parent):
        if isinstance(run, Run) and run.folder.number < after.number:
            for node in run.graph.nodes:
                with contextlib.suppress(FlottaError, OSError, TornError, lmdb.Error):
                    if _is_over(run, graph) and _is_ours(run):  # again each time: it may have been resumed meanwhile
                        _drop(run, node.name)


def has_finite_values(after: RunFolder, graph: Graph) -> bool:
    """Whether `drop_finite_values` may have something to do; no journal is opened for it."""
    return any(
        _is_over(run, graph) and any(_keeping(run, node.name) for node in run.graph.nodes)
        for run in looked_through(after.path.parent)
        if isinstance(run, Run) and run.folder.number < after.number
    )


def _is_over(run: Run, graph: Graph) -> bool:
    if run.graph.workflow_file != graph.workflow_file:
        return False
    with contextlib.suppress(FlottaError):
        return not run.is_running and run.result is not None
    return False


def _is_ours(run: Run) -> bool:
    """Whether the journals belong to this user, and are nowhere else, too. Nobody asked for this run: one that somebody
    sent may hold links to files of this user, which would be written over. Raises OSError.
    """
    journals = [run.folder.journal(node.name) for node in run.graph.nodes]
    folders = [journal for journal in journals if os.path.lexists(journal)]
    folders += [journal / INDEX for journal in folders]
    if not all(map(_is_our_folder, (run.folder.path, *(journal.parent for journal in journals), *folders))):
        return False
    files = (file for folder in folders for file in folder.iterdir() if file.name != INDEX)
    return all(_is_our_file(file.lstat()) for file in files)


def _is_our_folder(folder: Path) -> bool:
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()


def _is_our_file(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_nlink == 1


def _drop(run: Run, node: str) -> None:
    folder = run.folder.journal(node)
    keeping = _keeping(run, node)
    if not keeping or not folder.is_dir():
        return
    with JournalReader(folder) as reader:
        newest = {name: info.last_seq for name, info in reader.streams().items()}
    choice, segments = Choice(folder, keeping, has_ended=True), segment_numbers(folder)
    if choice.next(segments, newest, time.time()) is None:
        return
    last = folder / segment_name(segments[-1])
    facts = last.stat()
    with Journal.open(folder, journalled_outputs(run.graph, node)) as journal:
        journal.end_segment()
        os.utime(last, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # the age of its values, not of this opening
        while drop_next(folder, choice, journal, time.time()):
            pass


def _keeping(run: Run, node: str) -> dict[str, Keeping]:
    return {
        port.name: Keeping(port.keep_s, tuple(_takers(run, node, port.name)))
        for port in run.graph.node(node).schema.outputs
        if port.lifetime == "finite"
    }


def _takers(run: Run, node: str, output: str) -> list[Taker]:
    if run.result is not None and run.result.end == "succeeded":  # it is not resumed
        return []
    edges = (edge for edge in run.graph.outbound(node) if edge.output == output and gets_every_value(run.graph, edge))
    return [Taker(run.folder.journal(edge.target), edge.input) for edge in edges]
