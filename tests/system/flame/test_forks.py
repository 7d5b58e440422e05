"""A process that a flame node forks has its journal and sockets too, and must not use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.flame.counting import values
from tests.system.flame.laboratory import Laboratory

pytestmark = pytest.mark.system

WORKFLOW = "from flame import Workflow\nfrom flame_nodes import Forks\nwf = Workflow('forks')\nForks('forks')\n"
FORKS = """
    import multiprocessing
    import os
    import flame
    node = flame.Node("Forks")
    node.outputs.permanent("n", int)
    node.register()
    node.outputs.set(n=1)
    {program}
"""


def test_what_a_forked_process_sets_is_refused_and_what_the_program_sets_is_whole(tmp_path: Path) -> None:
    program = "child = os.fork(); child and os.waitpid(child, 0); node.outputs.set(n=2 if child else 1000)"
    lab = Laboratory(tmp_path, WORKFLOW, forks=FORKS.format(program=program))
    assert lab.json("run")["end"] == "succeeded"
    assert values(lab.run(), "forks/n") == [1, 2]
    assert "in a process that this program forked" in lab.run().log("forks").read_text()


def test_a_pool_of_processes_may_compute(tmp_path: Path) -> None:
    program = "node.outputs.set(n=sum(multiprocessing.get_context('fork').Pool(2).map(abs, [1, -2])))"
    lab = Laboratory(tmp_path, WORKFLOW, forks=FORKS.format(program=program))
    assert lab.json("run")["end"] == "succeeded"
    assert values(lab.run(), "forks/n") == [1, 3]
