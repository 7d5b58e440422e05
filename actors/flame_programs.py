"""The programs of the flame nodes of one run: how each is started, where it prints, how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from actors.adapters.flame_control import ProgramEnded
from actors.adapters.flame_files import HeldRun
from actors.adapters.flame_processes import Program, cpu_ms
from flame.control import ENDPOINT_VARIABLE, NODE_VARIABLE
from flame.limits import LOG_TOLD_BYTES
from flame.run.provenance import safe_program
from flame.run.run_story import last_words, log_story
from protocol.limits import MIB
from protocol.machines.flame_events import ProcessEnded

_RAISED: Final = 1  # Python's exit code after an error that nobody caught; its traceback is the last in the log


class FlamePrograms:
    """`python`: the interpreter of the flame nodes. One thread, that of the executor."""

    def __init__(self, run: HeldRun, python: str) -> None:
        self._graph = run.document.graph
        self._folder = run.folder
        self._python = python
        self._nodes = {node.name: node for node in self._graph.nodes}  # limits.FLAME_NODES_MAX
        self._log_begins: dict[str, int] = {}  # limits.FLAME_NODES_MAX: where the log of the newest process begins
        self._pids: dict[str, int] = {}  # limits.FLAME_NODES_MAX

    def of_node(self, node: str, endpoint: str) -> Program:
        """That of a flame node, which is started now. `endpoint`: where it finds its executor."""
        self._mark(node)
        return self._program(node, {ENDPOINT_VARIABLE: endpoint})

    def safe(self, node: str) -> Program:
        """That which makes its hardware safe, and is started now. It has one."""
        self._mark(node)
        safe = self._safe(node)
        assert safe is not None
        return msgspec.structs.replace(safe, safe=safe)

    def greeted(self, node: str, pid: int) -> None:
        """The process of a flame node has told its number."""
        self._pids[node] = pid

    def cpu_ms(self, node: str) -> int | None:
        """What its process has computed. None when it has not told its number yet."""
        return cpu_ms(self._pids[node]) if node in self._pids else None

    def ended(self, ended: ProgramEnded) -> ProcessEnded:
        """With the words that tell why."""
        story = ended.fault or (self._last_of_log(ended.node, ended.code) if ended.code else "")
        return ProcessEnded(node=ended.node, code=ended.code, signal=ended.signal, story=story)

    def about_log(self, node: str) -> Iterator[str]:
        """Nothing cuts what a program prints, and it may fill a disk: so it is told."""
        log = self._folder.log(node)
        with contextlib.suppress(OSError):
            if (size := log.stat().st_size) > LOG_TOLD_BYTES:
                yield f"it printed {size / MIB:,.0f} MiB, which lie in {log}"

    def _mark(self, node: str) -> None:
        log = self._folder.log(node)
        self._log_begins[node] = log.stat().st_size if log.exists() else 0

    def _program(self, node: str, variables: Mapping[str, str], file: str = "") -> Program:
        own_file = self._nodes[node].file
        return Program(
            file=file or own_file,
            folder=str(Path(self._graph.workflow_file or own_file).parent),
            log=str(self._folder.log(node)),
            variables={NODE_VARIABLE: node, **variables},
            safe=None if file else self._safe(node),
            python=self._python,
        )

    def _safe(self, node: str) -> Program | None:
        one = self._nodes[node]
        return self._program(node, {}, str(safe_program(one.file, one.schema.safe))) if one.schema.safe else None

    def _last_of_log(self, node: str, code: int) -> str:
        log, since = self._folder.log(node), self._log_begins.get(node, 0)
        story = log_story(log, since, self._nodes[node].file) if code == _RAISED else ""
        if story:
            return story
        words = last_words(log, since)
        return f"its process ended with exit code {code}" + (f"; it printed last: {words}" if words else "")
