"""The demo as people run it: three real nodes answer, and nothing of them is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.system.processes import wait_until

LIMIT_S = 60.0  # generous: the demo takes some three seconds on two idle processors
RUN = """
import sys
from pathlib import Path
from flotta_p2p.demo.run import run_demo
words = sys.argv[1:]
keep = Path(words[words.index("--keep") + 1]) if "--keep" in words else None
sys.exit(run_demo(breaking="--break" in words, as_json="--json" in words, keep=keep))
"""
WRONG_TRUTH = """
import flotta_p2p.demo.run as run
truth = run.pooled_summary
run.pooled_summary = lambda artifact, shares: truth(artifact, shares[:2])
"""
pytestmark = pytest.mark.system


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path: the name of a socket has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    yield folder
    shutil.rmtree(folder)


def start_demo(
    place: Path, *words: str, before: str = "", out: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Temporary folders and control sockets of the demo, and of its nodes, lie in `place`."""
    (place / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", before + RUN, *words],
        env=os.environ | {"TMPDIR": str(place / "tmp"), "XDG_RUNTIME_DIR": str(place), "TERM": "xterm-256color"},
        cwd=place,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_demo(place: Path, *words: str, before: str = "") -> tuple[int, str, str]:
    with start_demo(place, *words, before=before) as demo:
        try:
            out, errors = demo.communicate(timeout=LIMIT_S)
        finally:
            demo.kill()
    return demo.returncode, out, errors


def assert_nothing_is_left(place: Path) -> None:
    assert processes_in(place) == []
    assert list((place / "tmp").iterdir()) == []
    assert list(place.rglob("*.sock")) == []


def processes_in(place: Path) -> list[str]:
    """Command lines of the processes that work in this folder or name it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_text().replace("\0", " ")
                where = str((process / "cwd").readlink())
            except OSError:
                continue  # it has ended
            if str(place) in words or str(place) in where:
                found.append(words)
    return found


def test_the_demo_answers_as_the_pooled_truth_and_leaves_nothing(place: Path) -> None:
    code, out, errors = run_demo(place)
    assert (code, errors) == (0, "")
    assert "equal: yes" in out
    assert "coverage: 3 of 3 sources, 333 rows" in out
    assert "4207.057057057057   4207.057057057057" in out
    for name in ("Biscoe", "Dream", "Torgersen"):
        assert sum(line.strip().startswith(name) for line in out.splitlines()) >= 1
    last = out.strip().splitlines()[-1]
    assert "flotta-p2p demo --break" in last
    assert "flotta-p2p project new" in last
    assert "\x1b" not in out
    assert out.isascii()
    assert_nothing_is_left(place)


def test_every_attempt_to_break_it_ends_as_promised(place: Path) -> None:
    code, out, errors = run_demo(place, "--break", "--json", "--keep", "kept")
    assert (code, errors) == (0, "")
    document = json.loads(out)
    assert document["equal"]
    assert document["result"] == document["truth"]
    assert document["as_promised"]
    attempts = document["attempts"]
    assert [attempt["as_promised"] for attempt in attempts] == [True] * 5
    assert "signature" in attempts[0]["happened"]
    assert "token" in attempts[1]["happened"]
    assert "5 before and 5 after" in attempts[2]["happened"]
    assert "5 before and 5 after" in attempts[3]["happened"]
    assert "Torgersen" in attempts[4]["happened"]
    assert_nothing_is_left(place)
    config = place / "kept" / "biscoe" / "config.yaml"
    assert config.stat().st_mode & 0o777 == 0o600


def test_a_wrong_truth_is_noticed(place: Path) -> None:
    code, out, _ = run_demo(place, "--json", before=WRONG_TRUTH)
    document = json.loads(out)
    assert (code, document["equal"], document["as_promised"]) == (1, False, False)
    assert document["job"]["state"] == "succeeded"
    assert document["result"]["rows"] == 333
    assert all(one["bytes_left"] > 0 for one in document["left"])
    assert_nothing_is_left(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_leaves_nothing(place: Path, number: signal.Signals) -> None:
    story = place / "story"
    with story.open("w") as out, start_demo(place, out=out) as demo:
        try:
            word = "peers" if number == signal.SIGINT else "1. Three nodes start"
            wait_until(lambda: word in story.read_text(), LIMIT_S)
            demo.send_signal(number)
            _, errors = demo.communicate(timeout=LIMIT_S)
        finally:
            demo.kill()
    assert demo.returncode == 130
    said = "flotta-p2p: interrupted: the nodes of the demo are stopped, nothing is left behind. Next: flotta-p2p demo\n"
    assert errors == said
    assert_nothing_is_left(place)


def test_a_node_that_cannot_start_is_named_and_nothing_is_left(place: Path) -> None:
    broken = "import flotta_p2p.demo.fleet as fleet\nfleet._CONFIG += 'mode: spaceship\\n'\n"
    code, out, errors = run_demo(place, before=broken)
    assert code == 1
    assert "flotta_p2p" not in out
    assert "ended with code 3" in errors.splitlines()[-1]
    assert_nothing_is_left(place)


def test_a_folder_with_something_in_it_is_refused(place: Path) -> None:
    (place / "kept").mkdir()
    (place / "kept" / "mine").touch()
    code, _, errors = run_demo(place, "--keep", "kept")
    assert code == 1
    assert "is not empty" in errors.splitlines()[-1]
    assert (place / "kept" / "mine").exists()
    assert_nothing_is_left(place)


def test_no_process_outlives_a_demo_that_is_killed(place: Path) -> None:
    with start_demo(place) as demo:
        assert demo.stdout is not None
        while "runs:" not in (line := demo.stdout.readline()):
            assert line, "the demo ended before its nodes ran"
        demo.kill()
    wait_until(lambda: processes_in(place) == [], 2.0)
