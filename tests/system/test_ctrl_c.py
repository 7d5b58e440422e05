"""Ctrl-C while a command loads: it ends at once with its exit code, one line or nothing, and no traceback.

What Python does before our first line is not ours: 20 ms in which no program can take a signal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flotta_p2p import exit_codes

pytestmark = pytest.mark.system
LIMIT_S = 30.0
MODULE = (sys.executable, "-P", "-m", "flotta_p2p")
SCRIPT = (str(Path(sys.executable).with_name("flotta-p2p")),)
# Loaded by Python at its start: sends SIGINT so many seconds after the import of a module has begun.
_SENDER = """
import os, signal, sys, threading
class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            if {after_s} == 0:
                os.kill(os.getpid(), signal.SIGINT)
            else:
                timer = threading.Timer({after_s}, os.kill, (os.getpid(), signal.SIGINT))
                timer.daemon = True
                timer.start()
sys.meta_path.insert(0, Finder())
"""


def interrupted(program: tuple[str, ...], folder: Path, module: str, after_s: float) -> tuple[int, str, str]:
    """The end of a command that reads a token from a pipe on which nobody writes."""
    (folder / "sitecustomize.py").write_text(_SENDER.format(module=module, after_s=after_s))
    line = [*program, "project", "add", "heart", "--workdir", str(folder / "work")]
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, env=environ, text=True, **pipes) as command:  # type: ignore[call-overload]
        try:
            code = command.wait(LIMIT_S)
            return code, command.stdout.read(), command.stderr.read()
        finally:
            command.kill()


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize("module", ["flotta_p2p.commands", "flotta_p2p.commands.projects"])
def test_before_a_command_runs_it_ends_without_a_word(program: tuple[str, ...], module: str, tmp_path: Path) -> None:
    assert interrupted(program, tmp_path, module, 0) == (exit_codes.INTERRUPTED, "", "")


@pytest.mark.parametrize(("program", "after_s"), [(MODULE, 0.02), (SCRIPT, 0.1), (MODULE, 0.2), (SCRIPT, 0.4)])
def test_at_any_moment_it_ends_with_one_line_at_most(program: tuple[str, ...], after_s: float, tmp_path: Path) -> None:
    code, out, err = interrupted(program, tmp_path, "flotta_p2p.commands", after_s)
    assert (code, out) == (exit_codes.INTERRUPTED, "")
    assert err.strip() in ("", "flotta-p2p: interrupted.")


def test_while_a_command_loads_its_libraries_it_ends_with_one_line(tmp_path: Path) -> None:
    code, out, err = interrupted(MODULE, tmp_path, "flotta_p2p.commands.places", 0)
    assert (code, out, err.strip()) == (exit_codes.INTERRUPTED, "", "flotta-p2p: interrupted.")
