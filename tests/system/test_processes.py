"""Launcher, node and children as real processes: who outlives whom, and what is said about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.launcher import GIVEN_UP, PLAN_WRONG
from tests.system.processes import is_alive, start_launcher, wait_until

pytestmark = pytest.mark.system

GONE_S = 2.0  # the promise: children and node are gone so soon after a kill
LIMIT_S = 10.0


class Setup:
    """A launcher with the stub node, and what the node wrote down."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.log.touch()
        self._launchers: list[subprocess.Popen[str]] = []

    def start(self, *children: str, final_codes: tuple[int, ...] = (), **environment: str) -> None:
        node = [sys.executable, "-m", "tests.system.stub_node", str(self.log), *children]
        self.launcher = start_launcher(node, environment=os.environ | environment, final_codes=final_codes)
        self._launchers.append(self.launcher)
        wait_until(lambda: len(self.events("ChildStarted")) == len(children), LIMIT_S)
        wait_until(lambda: self.events("Kept"), LIMIT_S)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == name]

    def node(self) -> int:
        return int(self.events("Kept")[-1]["node"])

    def pid(self, key: str) -> int:
        return int([event["pid"] for event in self.events("ChildStarted") if event["key"] == key][-1])

    def everyone(self) -> list[int]:
        started = [int(event["pid"]) for event in self.events("ChildStarted")]
        return [int(event["node"]) for event in self.events("Kept")] + started

    def ended(self) -> tuple[int, str]:
        """Exit code and standard error of the launcher."""
        _, stderr = self.launcher.communicate(timeout=LIMIT_S)
        return self.launcher.returncode, stderr

    def clean_up(self) -> None:
        for launcher in self._launchers:
            launcher.kill()
            launcher.communicate(timeout=LIMIT_S)
        wait_until(lambda: not any(map(is_alive, self.everyone())), GONE_S)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    setup.clean_up()


def test_a_killed_launcher_takes_node_and_children_with_it(setup: Setup) -> None:
    setup.start("a:stub:kill", "b:stayer:keep")
    everyone = setup.everyone()
    assert len(everyone) == 3
    assert all(map(is_alive, everyone))
    setup.launcher.kill()
    wait_until(lambda: not any(map(is_alive, everyone)), GONE_S)


def test_a_killed_node_takes_its_children_with_it_and_is_started_again(setup: Setup) -> None:
    setup.start("a:stub:kill", STUB_MARK="intact")
    node, child = setup.node(), setup.pid("a")
    os.kill(node, signal.SIGKILL)
    wait_until(lambda: not is_alive(node) and not is_alive(child), GONE_S)
    wait_until(lambda: len(setup.events("NodeStarted")) == 2, LIMIT_S)
    before, after = (event["environment"] for event in setup.events("NodeStarted"))
    del before["FLOTTA_LAUNCHER_FD"], after["FLOTTA_LAUNCHER_FD"]
    assert after == before
    assert after["STUB_MARK"] == "intact"
    wait_until(lambda: len(setup.events("ChildStarted")) == 2, LIMIT_S)
    assert setup.pid("a") != child


def test_a_child_to_be_kept_survives_its_node_and_the_next_node_can_end_it(setup: Setup) -> None:
    setup.start("a:stub:kill", "b:stayer:keep")
    kept = setup.pid("b")
    os.kill(setup.node(), signal.SIGKILL)
    wait_until(lambda: len(setup.events("Kept")) == 2, LIMIT_S)
    assert is_alive(kept)
    assert setup.events("Kept")[-1]["kept"] == {"b": kept}
    os.kill(setup.node(), signal.SIGUSR1)
    wait_until(lambda: [event["reason"] for event in setup.events("ChildGone")] == ["killed"], LIMIT_S)
    assert not is_alive(kept)


def test_a_kept_child_ends_with_the_launcher(setup: Setup) -> None:
    setup.start("b:stayer:keep")
    os.kill(setup.node(), signal.SIGKILL)
    wait_until(lambda: not is_alive(setup.node()), LIMIT_S)
    setup.launcher.kill()
    wait_until(lambda: not is_alive(setup.pid("b")), GONE_S)


def test_a_kept_child_that_ends_while_the_node_is_down_is_not_passed_over_in_silence(setup: Setup) -> None:
    setup.start("b:stayer:keep")
    os.kill(setup.node(), signal.SIGKILL)
    assert setup.launcher.stderr is not None
    assert "signal 9 ended the node" in setup.launcher.stderr.readline()
    os.kill(setup.pid("b"), signal.SIGKILL)
    wait_until(lambda: len(setup.events("Kept")) == 2, LIMIT_S)
    assert setup.events("Kept")[-1]["kept"] == {}
    setup.launcher.terminate()
    assert "child b ended while the node was down: code None, signal 9, exited." in setup.ended()[1]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_terminate_end_all_with_the_code_of_the_node(setup: Setup, stop: signal.Signals) -> None:
    setup.start("a:stub:kill", "b:stayer:keep", STUB_CODE="3")
    everyone = setup.everyone()
    setup.launcher.send_signal(stop)
    assert setup.ended() == (3, "")
    assert not any(map(is_alive, everyone))


def test_a_node_that_ends_well_ends_all(setup: Setup) -> None:
    setup.start("a:stub:kill")
    everyone = setup.everyone()
    os.kill(setup.node(), signal.SIGTERM)
    assert setup.ended() == (0, "")
    assert not any(map(is_alive, everyone))


def test_a_code_that_the_operator_must_mend_is_passed_on(setup: Setup) -> None:
    setup.start(final_codes=(4, 5), STUB_CODE="5")
    os.kill(setup.node(), signal.SIGTERM)
    assert setup.ended() == (5, "")


def test_a_node_that_does_not_stop_is_killed_with_a_sentence(setup: Setup, tmp_path: Path) -> None:
    launcher = run_with_short_times(["stub", str(setup.log)], STUB_IGNORES_STOP="1")
    try:
        wait_until(lambda: setup.events("Kept"), LIMIT_S)
        launcher.terminate()
        _, stderr = launcher.communicate(timeout=LIMIT_S)
    finally:
        launcher.kill()
    assert launcher.returncode == 128 + signal.SIGKILL
    assert "did not end within 0.3 s and is killed" in stderr
    assert not is_alive(setup.node())


def test_a_node_that_ends_again_and_again_is_given_up() -> None:
    launcher = run_with_short_times([sys.executable, "-c", "raise SystemExit(9)"])
    _, stderr = launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == GIVEN_UP
    assert stderr.count("started again in") == 4
    assert stderr.splitlines()[-1].endswith("the node ended with code 9, 5 ends within 10 minutes: giving up.")


# Lives for a moment and ends with 7, then cannot start twice for the same reason, and then ends well.
FULL_FOR_A_WHILE = """
import pathlib, sys, time
lives = pathlib.Path(sys.argv[1])
lives.write_text((lives.read_text() if lives.exists() else "") + "I")
if lives.read_text() == "I":
    time.sleep(1)
sys.exit(0 if lives.read_text() == "IIII" else 7)
"""


def test_a_node_that_ran_well_is_tried_again_without_end_while_its_disk_is_full(tmp_path: Path) -> None:
    node = [sys.executable, "-c", FULL_FOR_A_WHILE, str(tmp_path / "lives")]
    launcher = run_with_short_times(node, final_codes=(7,))
    _, stderr = launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == 0, stderr
    assert stderr.count("the node ended with code 7; it is tried again in") == 3


def run_with_short_times(
    node: list[str], final_codes: tuple[int, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """A launcher whose pauses are too short for the product and long enough for a test."""
    if node[0] == "stub":
        node = [sys.executable, "-m", "tests.system.stub_node", *node[1:]]
    plan = json.dumps({"node": node, "children": {}, "final_codes": final_codes})
    program = (
        "import sys, actors.launcher as l;"
        "l.NODE_STOP_MS = 300; l.NODE_BACKOFF_MS_MIN = l.NODE_BACKOFF_MS_MAX = l.NODE_PATIENCE_MS = 10;"
        "l.NODE_SETTLED_MS = 500;"
        "sys.exit(l.main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, "--plan", plan],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_stop_while_the_node_is_down_ends_the_launcher(setup: Setup) -> None:
    setup.start()
    os.kill(setup.node(), signal.SIGKILL)
    assert setup.launcher.stderr is not None
    assert setup.launcher.stderr.readline() == (
        "flotta launcher: signal 9 ended the node; it is started again in 1 s.\n"
    )
    setup.launcher.terminate()
    assert setup.ended()[0] == 128 + signal.SIGKILL


def test_a_node_that_is_not_there_is_reported_at_once() -> None:
    launcher = start_launcher(["/nonexistent/node"], environment=dict(os.environ))
    _, stderr = launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == GIVEN_UP
    assert stderr.count("\n") == 1
    assert "'/nonexistent/node' cannot be started" in stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--plan"], ["--plan", "{"], ["--plan", '{"node": []}'], ["--plan", "[" * 10_000]]
)
def test_a_plan_that_is_none_is_one_sentence(arguments: list[str]) -> None:
    launcher = subprocess.run(
        [sys.executable, "-m", "actors.launcher", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert launcher.returncode == PLAN_WRONG
    assert launcher.stderr.startswith("flotta launcher: ")
    assert launcher.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line", [b"garbage\n", b"x" * 70_000, b'{"do": "fly"}\n', b'{"do": "kill", "key": 1, "reason": ""}\n']
)
def test_a_node_that_breaks_the_rules_is_killed_with_a_sentence(line: bytes, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(line)
    node = (
        "import os, sys, signal; from pathlib import Path; fd = int(os.environ['FLOTTA_LAUNCHER_FD']);"
        "os.write(fd, Path(sys.argv[1]).read_bytes()); signal.pause()"
    )
    launcher = start_launcher([sys.executable, "-c", node, str(payload)], environment=dict(os.environ))
    assert launcher.stderr is not None
    first, second = launcher.stderr.readline(), launcher.stderr.readline()
    launcher.terminate()
    launcher.communicate(timeout=LIMIT_S)
    assert first.startswith("flotta launcher: the node is killed: it sent a line ")
    assert second == "flotta launcher: signal 9 ended the node; it is started again in 1 s.\n"


def test_a_launcher_without_children_sleeps_and_stays_small(setup: Setup) -> None:
    setup.start()
    proc = Path(f"/proc/{setup.launcher.pid}")
    assert len(list((proc / "task").iterdir())) == 1
    pages = int((proc / "statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") < 16 * 1024 * 1024


def test_a_child_whose_parent_died_first_ends_at_once() -> None:
    program = "from actors.child_bootstrap import *; adopt_parent_death(parent_pid()); raise SystemExit(0)"
    child = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FLOTTA_PARENT_PID": "1"},
        timeout=LIMIT_S,
        check=False,
    )
    assert child.returncode == 71


def test_without_a_signal_at_the_parents_death_a_thread_looks_for_it() -> None:
    child = (
        "import sys, threading, actors.child_bootstrap as b; sys.platform = 'elsewhere';"
        "b.adopt_parent_death(b.parent_pid()); print('ready', flush=True); threading.Event().wait(60)"
    )
    parent = (
        "import os, subprocess, sys;"
        "os.environ['FLOTTA_PARENT_PID'] = str(os.getpid());"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE);"
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        assert is_alive(pid)
        started.kill()
    wait_until(lambda: not is_alive(pid), GONE_S)


def test_a_child_started_by_hand_says_so() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FLOTTA_PARENT_PID"}
    child = subprocess.run(
        [sys.executable, "-m", "tests.system.stub_child"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert child.returncode == 1
    assert child.stderr.startswith("This program is started by a node or its launcher, not by hand")
