"""Each measurement: a workflow of the flame nodes of this package, run by the executor as `flame run` does."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from actors.adapters.flame_files import new_run
from actors.flame_embedded import execute
from actors.flame_plans import limits_of
from flame.authoring.workflow import load_graph
from flame.run.run_folder import RUNS_FOLDER, RunFolder
from flame.run.run_record import RunDocument, RunResult
from flotta_p2p.flame_bench.kept import PREFIX
from flotta_p2p.flame_bench.rows import FOUND, Aim, Row, fault, row
from protocol.errors import Code, StorageError
from protocol.limits import KIB

_NODES: Final = Path(__file__).parent / "nodes"
_TWICE: Final = ("ask.py", "echo.py", "pour.py")  # also with a journal
_LIMIT_S: Final = 60.0  # of one measurement; on a slow machine one takes 20 s
_MB: Final = 1_000_000
_TRIPS: Final = 2_000
_MESSAGES: Final = 200_000
_KEPT: Final = 100_000
_EMPTY: Final = 16


class Measurement(msgspec.Struct, frozen=True):
    """`nodes`: by name, its class, its parameters, and its inputs with the outputs they take. `teller`: of `nodes`, the
    one that prints what was found; "": what counts is how long the run took. `scale`: of what it prints.
    """

    what: str
    unit: str
    aim: Aim | None
    nodes: dict[str, tuple[str, dict[str, Any], dict[str, str]]]
    teller: str = ""
    scale: float = 1.0


def measurements(share: float, sockets: Path) -> Iterator[Measurement]:
    """`share` of the repetitions. `sockets`: a folder with a short path, for those of ZeroMQ alone."""

    def times(whole: int) -> int:
        return max(3, round(whole * share))

    for kind, kept, ratio in (("", "", 1.3), ("Kept", ", journalled", 2.0)):
        for size, text in ((64, "64 B"), (KIB, "1 KB")):
            asking = {"folder": _folder(sockets), "size": size, "count": times(_TRIPS)}
            pair = {
                "asker": (f"{kind}Ask", asking, {"answer": "echo.answer"}),
                "echo": (f"{kind}Echo", {"folder": asking["folder"]}, {"ask": "asker.ask"}),
            }
            aim = Aim(ratio, at_most=True, of_raw=True)
            yield Measurement(f"round trip of {text}{kept}", "µs (p50)", aim, pair, "asker")
    yield _flow("small messages, none lost", "1/s", Aim(100_000), sockets, "Pour", 0, times(_MESSAGES))
    yield _flow("small messages, journalled", "1/s", None, sockets, "KeptPour", 0, times(_KEPT))
    store: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {"store": ("Store", {"count": times(_KEPT)}, {})}
    yield Measurement("numbers stored by a flame node", "1/s", Aim(50_000), store, "store")
    for size, count in ((1 * _MB, 1_000), (40 * _MB, 50)):
        what = f"arrays of {size // _MB} MB"
        yield _flow(what, "MB/s", Aim(1.0, of_raw=True), sockets, "Pour", size, times(count))
    empty: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {f"n{i}": ("Empty", {}, {}) for i in range(_EMPTY)}
    yield Measurement(f"{_EMPTY} empty flame nodes, start to stop", "s", Aim(3.0, at_most=True), empty)


def _flow(what: str, unit: str, aim: Aim | None, sockets: Path, kind: str, size: int, count: int) -> Measurement:
    common = {"folder": _folder(sockets), "count": count, "depth": 2 if size else 1_000}
    nodes = {
        "pour": (kind, {**common, "size": size}, {}),
        "drain": ("Drain", common, {"value": "pour.value"}),
    }
    return Measurement(what, unit, aim, nodes, "drain", size / _MB if size else 1.0)


def _folder(sockets: Path) -> str:
    return tempfile.mkdtemp(dir=sockets)


class Bench:
    """A folder with the flame nodes, below `where`: the disk that is measured. A context; leaving it removes it."""

    def __init__(self, where: Path) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="flame-bench-", dir=where))
        except OSError as error:
            raise StorageError(
                Code.FOLDER_UNUSABLE,
                f"{where} cannot be written: {error.strerror}",
                next_step="change to a folder on the disk that shall be measured, where this user may write",
            ) from error
        self.sockets: Final = Path(tempfile.mkdtemp(prefix="fb", dir="/tmp"))
        for file in _NODES.glob("[!_]*.py"):
            shutil.copy(file, self._folder)
        for name in _TWICE:
            shutil.copy(_NODES / name, self._folder / f"{PREFIX}{name}")

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def measure(self, one: Measurement) -> Row:
        """Raises WorkflowError and StorageError where a run cannot even begin."""
        workflow = self._folder / "workflow.py"
        workflow.write_text(workflow_text(one), encoding="utf-8")
        graph = load_graph(workflow, None)
        began = time.perf_counter()
        run = new_run(self._folder / RUNS_FOLDER, graph, limit_s=_LIMIT_S)
        with run.lock:
            result = execute(
                run, limits=limits_of(run.document), write_archive=_no_archive, on_progress=lambda _: None
            ).result
        took_s = time.perf_counter() - began
        if result.exit_code:
            return fault(one.what, one.unit, one.aim, f"{result.end}: {result.reason}")
        if not one.teller:
            return row(one.what, one.unit, took_s, None, one.aim)
        found = _found(run.folder.log(one.teller))
        raw = found.get("raw")
        return row(one.what, one.unit, found["flame"] * one.scale, None if raw is None else raw * one.scale, one.aim)


def workflow_text(one: Measurement) -> str:
    kinds = sorted({kind for kind, _, _ in one.nodes.values()})
    lines = [
        f"from flame_nodes import {', '.join(kinds)}",
        "",
        "from flame import Workflow",
        "",
        'wf = Workflow("bench")',
    ]
    edges = []
    for name, (kind, parameters, inputs) in one.nodes.items():
        given = "".join(f", {key}={value!r}" for key, value in parameters.items())
        lines.append(f'{name} = {kind}("{name}"{given})')
        for target, source in inputs.items():
            node, output = source.split(".")
            edges.append(f"{name}.i.{target} = {node}.o.{output}")
    return "\n".join((*lines, *edges, ""))


def _no_archive(run: RunFolder, document: RunDocument, result: RunResult | None) -> Path:
    return run.archive


def _found(log: Path) -> dict[str, float]:
    text = next(line for line in log.read_text("utf-8").splitlines() if line.startswith(FOUND))
    found: dict[str, float] = json.loads(text.removeprefix(FOUND))
    return found
