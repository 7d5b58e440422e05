"""Finite values of runs that have ended: those without `keep` stay until the next run of their workflow has ended,
the others until their time is over.
"""

from __future__ import annotations

import contextlib
import os
import time

from flame.graph import Graph
from flame.journal import Journal, JournalReader, Keeping, Taker
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
    is damaged, of somebody else, or on a full disk. Raises nothing for what the disk refuses: the end of the next run
    looks again.
    """
    with contextlib.suppress(FlottaError, OSError):
        _drop_before(after, graph)


def _drop_before(after: RunFolder, graph: Graph) -> None:
    for run in looked_through(after.path.parent):
        if isinstance(run, Run) and run.folder.number < after.number:
            for node in run.graph.nodes:
                if _is_over(run, graph):  # asked again each time: it may have been resumed meanwhile
                    with contextlib.suppress(FlottaError, OSError, TornError):
                        _drop(run, node.name)


def _is_over(run: Run, graph: Graph) -> bool:
    if run.graph.workflow_file != graph.workflow_file:
        return False
    with contextlib.suppress(FlottaError):
        return not run.is_running and run.result is not None
    return False


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
