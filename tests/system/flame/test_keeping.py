"""Finite values of a run that goes on, and of the run before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flame.archive import Archive
from tests.system.flame.laboratory import Laboratory

pytestmark = pytest.mark.system

COUNT = 250
CAMERA = f"""
    import time
    import flame
    from flame.journal import writer
    writer.SEGMENT_BYTES = 100_000
    node = flame.Node("Camera")
    frame = node.outputs.finite("frame", bytes, keep="1s")
    note = node.outputs.finite("note", int)
    count = node.outputs.permanent("count", int)
    memory = node.memory(number=0)
    node.register()
    while memory.number < {COUNT}:
        memory.number += 1
        node.outputs.set(frame=bytes(10_000), note=memory.number, count=memory.number)
        time.sleep(0.01)
"""
EYE = """
    import os, pathlib, time
    import flame
    node = flame.Node("Eye")
    frame = node.inputs.flow("frame", bytes, policy="spill", depth=5)
    seen = node.outputs.permanent("seen", int)
    memory = node.memory(number=0)
    node.register()
    pathlib.Path("eye.pid").write_text(str(os.getpid()))
    for record in frame:
        memory.number += 1
        assert record.seq == memory.number and len(record.value) == 10_000
        node.outputs.set(seen=record.seq)
        time.sleep(0.012)
"""
WORKFLOW = """
    from flame import Workflow
    from flame_nodes import Camera, Eye
    wf = Workflow("pictures", "")
    camera = Camera("camera")
    eye = Eye("eye", frame=camera.o.frame).restart("on-failure", max=50)
"""


@pytest.mark.timeout(120)
def test_values_go_by_age_though_never_before_a_consumer_that_is_killed_has_taken_them(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path, WORKFLOW, camera=CAMERA, eye=EYE)
    with lab.begin("run") as running:
        lab.kill("eye")
        lab.kill("eye")
        assert running.wait(60) == 0, running.communicate()
    with Archive(lab.run().archive) as archive:
        for stream in ("camera/count", "eye/seen"):
            assert [one.value for one in archive.read(stream, 1)] == list(range(1, COUNT + 1))
    gone = lab.type("cat", "#/j1/camera/frame[0]")
    assert gone.returncode != 0 and "kept for a while only, and are gone" in gone.stderr
    segments = sorted(lab.run().journal("camera").glob("*.seg"))
    assert segments[0].stat().st_blocks * 512 < 60_000, "of 100,000 bytes a block for each number stays"
    assert lab.type("cat", "#/j1/camera/note[0]").returncode == 0, "without keep it stays until the next run"
    assert lab.type("run").returncode == 0
    assert lab.type("cat", "#/j1/camera/note[0]").returncode != 0
    assert lab.type("cat", "#/j2/camera/note[0]").returncode == 0
    assert lab.type("archive", "j1").returncode == 0
    with Archive(lab.run().archive) as archive:
        assert archive.count("camera/count") == COUNT
