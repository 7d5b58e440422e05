"""Standard streams that are closed, or whose reader goes away: a run does not depend on who reads of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flame.run.run_record import read_result
from tests.system.flame.laboratory import FLAME, LIMIT_S, Laboratory

pytestmark = pytest.mark.system

FEW = """
    import flame
    node = flame.Node("Few")
    node.outputs.permanent("n", int)
    node.register()
    for n in range(5):
        node.outputs.set(n=n)
"""
ENDLESS = """
    import flame
    node = flame.Node("Few")
    node.outputs.permanent("n", int)
    node.outputs.runtime("now", int)
    node.register()
    print("hello", flush=True)
    node.outputs.set(n=1, now=1)
    for _ in node.every(60): pass
"""
WORKFLOW = "from flame import Workflow\nfrom flame_nodes import Few\nwf = Workflow('few')\nFew('few')\n"


def piped(lab: Laboratory, words: tuple[str, ...], stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output nobody reads any more."""
    unread, output = os.pipe()
    os.close(unread)
    typed = subprocess.run(
        (*FLAME, *words), cwd=lab.folder, stdout=output, stderr=stderr, text=True, timeout=LIMIT_S, check=False
    )
    os.close(output)
    return typed.returncode, typed.stderr or ""


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_a_run_with_closed_standard_streams_goes_to_its_end(tmp_path: Path, closed: tuple[int, ...]) -> None:
    lab = Laboratory(tmp_path, WORKFLOW, few=FEW)
    line = f"import os; [os.close(n) for n in {closed}]; os.execv({sys.executable!r}, {(*FLAME, 'run')!r})"
    typed = subprocess.run(
        (sys.executable, "-c", line), cwd=tmp_path, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert typed.returncode == 0
    result = read_result(lab.run().result.read_bytes())
    assert (result.end, result.archive) == ("succeeded", "j1.h5")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_run_whose_reader_goes_away_is_not_lost_and_tells_its_exit_code(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    lab = Laboratory(tmp_path, WORKFLOW, few=FEW)
    code, told = piped(lab, ("run", *options))
    assert (code, "Traceback" in told, "rror" in told) == (0, False, False), told
    assert read_result(lab.run().result.read_bytes()).end == "succeeded"
    assert piped(lab, ("run", *options), subprocess.STDOUT)[0] == 0
    assert piped(lab, ("ls",)) == (1, "")


def test_an_error_that_nobody_reads_keeps_its_exit_code(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path, WORKFLOW, few=FEW)
    assert piped(lab, ("check", "no.py"), subprocess.STDOUT)[0] == 8
    code, told = piped(lab, ("check", "no.py", "--json"))
    assert (code, told.count("\n"), "the file does not exist" in told) == (8, 1, True)


def test_who_follows_a_run_ends_with_his_reader(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path, WORKFLOW, few=ENDLESS)
    running = lab.begin("run", "--json")
    try:
        for words in (("logs", "-f"), ("watch", "#few/n"), ("watch", "#few/now", "--json")):
            lab.wait_for("flame_runs/j1/logs/few.txt")
            follows = subprocess.Popen((*FLAME, *words), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert follows.stdout is not None and follows.stderr is not None
            assert follows.stdout.readline()
            follows.stdout.close()  # and nothing more comes
            assert (follows.wait(LIMIT_S), follows.stderr.read()) == (1, b"")
            follows.stderr.close()
    finally:
        assert lab.type("stop").returncode == 0
        running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0
