"""A workflow whose archive shows every gap and every duplicate: one flame node counts, another adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flame.archive import Archive
from flame.run.run_folder import RunFolder
from tests.system.flame.laboratory import Laboratory

COUNTER = """
    import os, pathlib, time
    import flame
    node = flame.Node("Counter")
    last = node.inputs.state("last", int, default=100)
    pause = node.inputs.state("pause", float, default=0.0, unit="s")
    count = node.outputs.permanent("count", int)
    memory = node.memory(number=0)
    node.register()
    pathlib.Path(os.environ["FLAME_NODE"] + ".pid").write_text(str(os.getpid()))
    print("counting from", memory.number, flush=True)
    while node.active and memory.number < last.get():
        memory.number += 1
        node.outputs.set(count=memory.number)
        time.sleep(pause.get())
    pathlib.Path("below").write_text("the loop")
"""
SUM = """
    import os, pathlib
    import flame
    node = flame.Node("Sum")
    number = node.inputs.flow("number", int)
    total = node.outputs.permanent("total", int)
    memory = node.memory(total=0)
    node.register()
    pathlib.Path(os.environ["FLAME_NODE"] + ".pid").write_text(str(os.getpid()))
    for record in number:
        memory.total += record.value
        node.outputs.set(total=memory.total)
"""
WORKFLOW = """
    from flame import Workflow
    from flame_nodes import Counter, Sum
    wf = Workflow("counting", "")
    counter = Counter("counter", last={last}, pause={pause})
    sum = Sum("sum", number=counter.o.count)
    {more}
"""
RESTART = "counter.restart('on-failure', max=50); sum.restart('on-failure', max=50)"
ENDLESS = 1_000_000


def laboratory(folder: Path, last: int = 20, pause: float = 0.0, more: str = "") -> Laboratory:
    return Laboratory(folder, WORKFLOW.format(last=last, pause=pause, more=more), counter=COUNTER, sum=SUM)


def values(run: RunFolder, stream: str) -> list[Any]:
    with Archive(run.archive) as archive:
        return [stored.value for stored in archive.read(stream, 1)]


def check_whole(run: RunFolder, last: int) -> None:
    """No gap, no duplicate."""
    assert values(run, "counter/count") == list(range(1, last + 1))
    assert values(run, "sum/total") == [number * (number + 1) // 2 for number in range(1, last + 1)]
