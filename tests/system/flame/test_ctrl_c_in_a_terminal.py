"""Ctrl-C, once and again, in each command that lasts: a clean end, its exit code, and nothing left behind."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from flame.run.run_record import read_result
from tests.system.flame.laboratory import LIMIT_S, Laboratory
from tests.system.flame.terminals import Terminal
from tests.system.processes import wait_until

pytestmark = pytest.mark.system

LEFT_S = 10.0  # for the kernel to end what was killed
NODE = """
    import os, pathlib, signal, time
    import flame
    node = flame.Node("Probe")
    n = node.outputs.permanent("n", int)
    {before}
    node.register()
    print("begun", flush=True)
    {program}
"""
WORKFLOW = "from flame import Workflow\nfrom flame_nodes import Probe\nwf = Workflow('probe')\nProbe('probe')\n"
TICKS = "for tick in node.every(0.05): node.outputs.set(n=tick)"
HANGS = "while True: time.sleep(1)"


def laboratory(folder: Path, program: str = TICKS, before: str = "") -> Laboratory:
    return Laboratory(folder, WORKFLOW, probe=NODE.format(program=program, before=before))


def check_end(terminal: Terminal, code: int) -> None:
    assert terminal.end() == code, terminal.seen
    assert "Traceback" not in terminal.seen, terminal.seen
    deadline_s = time.monotonic() + LEFT_S
    while left := terminal.left_behind():
        assert time.monotonic() < deadline_s, left


def has_begun(lab: Laboratory) -> bool:
    log = lab.run().log("probe")
    return log.exists() and "begun" in log.read_text()


def test_once_in_a_run_stops_it_in_order(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    terminal = Terminal(tmp_path, "run")
    terminal.wait_until(lambda: has_begun(lab) and "running" in terminal.seen)
    terminal.press_ctrl_c()
    check_end(terminal, 1)
    result = read_result(lab.run().result.read_bytes())
    assert (result.end, result.nodes["probe"].end, result.archive) == ("interrupted", "stopped", "j1.h5")


def test_twice_in_a_run_kills_what_does_not_end(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, HANGS)
    terminal = Terminal(tmp_path, "run")
    terminal.wait_until(lambda: has_begun(lab) and "running" in terminal.seen)
    terminal.press_ctrl_c()
    terminal.wait_until(lambda: "Ctrl-C again kills" in terminal.seen)
    terminal.press_ctrl_c()
    check_end(terminal, 1)
    result = read_result(lab.run().result.read_bytes())
    assert (result.end, result.nodes["probe"].end) == ("interrupted", "killed")


@pytest.mark.parametrize("command", ["check", "run", "generate"])
@pytest.mark.parametrize("presses", [1, 3])
def test_while_a_node_file_hangs_it_ends_at_once_and_so_does_the_file(
    tmp_path: Path, command: str, presses: int
) -> None:
    laboratory(tmp_path, before="pathlib.Path('hangs').touch(); time.sleep(1000)")
    terminal = Terminal(tmp_path, command)
    terminal.wait_until((tmp_path / "hangs").exists)
    for _ in range(presses):
        terminal.press_ctrl_c()
    check_end(terminal, 130)
    assert not (tmp_path / "flame_runs").exists()


def test_a_run_that_is_interrupted_before_its_start_is_no_run(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    lab.type("check")
    for _ in range(3):
        terminal = Terminal(tmp_path, "run")
        terminal.wait_until(lambda: any(tmp_path.glob("flame_runs/j*/lock")))
        terminal.press_ctrl_c()
        code = terminal.end()
        states = {run["state"] for run in lab.json("ps")["runs"]} if (tmp_path / "flame_runs").exists() else set()
        assert (code, states) in ((130, set()), (1, {"interrupted"})), terminal.seen
        if states:
            return  # it had begun already: on a machine that is so fast, this is all that can be seen


def test_a_dry_run_names_the_line_in_which_it_was_interrupted(tmp_path: Path) -> None:
    laboratory(tmp_path, HANGS)
    terminal = Terminal(tmp_path, "dry", "probe.py")
    terminal.wait_until(lambda: "begun" in terminal.seen)
    terminal.press_ctrl_c()
    check_end(terminal, 130)
    assert re.search(r"probe\.py:\d+: interrupted by Ctrl-C\n", terminal.seen), terminal.seen


@pytest.mark.parametrize(
    ("words", "shows", "code"), [(("watch", "#probe/n"), "Z  ", 0), (("logs", "-f"), "begun", 130)]
)
def test_who_follows_a_run_ends_and_the_run_goes_on(
    tmp_path: Path, words: tuple[str, ...], shows: str, code: int
) -> None:
    lab = laboratory(tmp_path)
    running = lab.begin("run", "--json")
    try:
        wait_until(lambda: has_begun(lab), LIMIT_S)
        terminal = Terminal(tmp_path, *words)
        terminal.wait_until(lambda: shows in terminal.seen)
        terminal.press_ctrl_c()
        check_end(terminal, code)
        assert running.poll() is None
    finally:
        assert lab.type("stop").returncode == 0
        running.communicate(timeout=LIMIT_S)


def test_a_bench_leaves_nothing(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "bench", "--quick")
    terminal.wait_until(lambda: "round trip" in terminal.seen)
    terminal.press_ctrl_c()
    terminal.press_ctrl_c()
    check_end(terminal, 130)
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_a_flame_node_that_was_still_starting_never_started_and_has_not_failed(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, before="'FLAME_CONTROL' in os.environ and (print('here', flush=True), time.sleep(3))")
    terminal = Terminal(tmp_path, "run")
    terminal.wait_until(lambda: lab.run().log("probe").exists() and lab.run().log("probe").read_text() == "here\n")
    terminal.press_ctrl_c()
    check_end(terminal, 1)
    node = read_result(lab.run().result.read_bytes()).nodes["probe"]
    assert (node.end, node.problem) == ("never-started", "")
