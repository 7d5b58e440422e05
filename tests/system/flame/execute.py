"""An executor as a process of its own, for tests that kill it: `execute FOLDER` runs FOLDER/graph.json, and
`execute FOLDER resume j1` takes a run up again. Prints the result as JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from actors.adapters.flame_files import new_run, take_up
from actors.flame_embedded import execute
from actors.flame_executor import RunProgress
from actors.flame_plans import limits_of
from flame.graph import Graph
from flame.run.run_folder import RUNS_FOLDER, RunFolder
from flame.run.run_record import RunDocument, RunResult, to_json


def no_archive(run: RunFolder, document: RunDocument, result: RunResult | None) -> Path:
    return run.archive


def show(progress: RunProgress) -> None:
    states = " ".join(f"{view.name}={view.state}" for view in progress.view.nodes)
    print(progress.view.phase, states, file=sys.stderr, flush=True)


def main(folder: Path, *words: str) -> int:
    graph = msgspec.json.decode((folder / "graph.json").read_bytes(), type=Graph)
    runs = folder / RUNS_FOLDER
    if words[:1] == ("resume",):
        run = take_up(RunFolder(runs, words[1]), graph)
    else:
        run = new_run(runs, graph, limit_s=float(words[0]) if words else 0.0)
    limits = msgspec.structs.replace(limits_of(run.document), hello_ms=3_000, stop_ms=3_000, beat_ms=2_500)
    with run.lock:
        over = execute(run, limits=limits, write_archive=no_archive, on_progress=show)
    sys.stdout.buffer.write(to_json(over.result))
    return int(over.result.exit_code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
