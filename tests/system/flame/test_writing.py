"""`flame write`: a value reaches the program of a run that goes on, with its author, and stays whatever crashes."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from flame import control
from flame.archive import Archive
from flame.run.run_record import read_result
from flame.run.write_request import ask
from flame.run.writes import WriteRequest
from protocol.errors import Code, DeniedError, UnreachableError
from tests.flame.executor_stand_in import StandIn
from tests.system.flame.laboratory import Laboratory
from tests.system.processes import wait_until
from tests.users import NOBODY, without_privileges

pytestmark = pytest.mark.system

HOLDER = """
    import os, pathlib
    import flame
    node = flame.Node("Holder")
    target = node.inputs.state("target", float, unit="MHz", limits=(0, 100), default=80.0)
    mode = node.inputs.state("mode", str, default="slow")
    closed = node.inputs.state("closed", float, default=1.0)
    trace = node.inputs.flow("trace", float, default=0.0)
    level = node.inputs.state("level", float)
    seen = node.outputs.permanent("seen", list)
    memory = node.memory(steps=0)
    node.register()
    pathlib.Path("holder.pid").write_text(str(os.getpid()))
    while True:
        changed = node.select(target, mode)
        for handle in changed:
            value = handle.get()
            memory.steps += 1
            node.outputs.set(seen=[handle.name, value, handle.last().seq])
"""
SOURCE = """
    import flame
    node = flame.Node("Source")
    level = node.outputs.runtime("level", float)
    node.register()
    node.outputs.set(level=1.0)
    for tick in node.every(0.1):
        pass
"""
WORKFLOW = """
    from flame import Workflow
    from flame_nodes import Holder, Source
    wf = Workflow("holding", "")
    source = Source("source")
    lock = Holder("lock", level=source.o.level)
    lock.restart("on-failure", max=50)
    lock.writable("target"{by})
    lock.writable("mode")
"""
ME = pwd.getpwuid(os.getuid()).pw_name


def laboratory(folder: Path, by: str = "") -> Laboratory:
    return Laboratory(folder, WORKFLOW.format(by=f", by={by}" if by else ""), holder=HOLDER, source=SOURCE)


@contextmanager
def running(lab: Laboratory, *words: str) -> Iterator[subprocess.Popen[str]]:
    (lab.folder / "holder.pid").unlink(missing_ok=True)
    process = lab.begin(*(words or ("run",)), "--json")
    try:
        lab.wait_for("holder.pid")
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def seen(lab: Laboratory) -> list[Any]:
    """What the program has seen: input, value, number."""
    typed = lab.type("cat", "#/j1/lock/seen", "--json")
    return [one["value"] for one in json.loads(typed.stdout)["values"]] if typed.returncode == 0 else []


def write(lab: Laboratory, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = lab.json("write", *words)
    assert "error" not in answer, answer
    return answer


def written(lab: Laboratory, name: str = "target") -> list[tuple[Any, str]]:
    return [(one["value"], one["author"]) for one in lab.json("cat", f"#/j1/lock/in/{name}")["values"]]


def test_a_write_reaches_the_program_and_is_kept_over_a_kill_and_in_the_archive(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    with running(lab):
        answer = write(lab, "#/j1/lock/target", "81.5")
        assert (answer["address"], answer["number"], answer["author"]) == ("#/j1/lock/in/target", 1, ME)
        wait_until(lambda: ["target", 81.5, 1] in seen(lab))
        write(lab, "#lock/in/target", "50")
        write(lab, "#lock/mode", "fast")
        wait_until(lambda: ["target", 50.0, 2] in seen(lab) and ["mode", "fast", 1] in seen(lab))
        before = len(seen(lab))
        lab.kill("holder")
        lab.wait_for("holder.pid")
        wait_until(lambda: len(seen(lab)) >= before + 2)
        assert sorted(seen(lab)[before:]) == [["mode", "fast", 1], ["target", 50.0, 2]]
        listed = {one["address"]: one for one in lab.json("ls", "#/j1/lock/in")["entries"]}
        entry = listed["#/j1/lock/in/target"]
        assert (entry["state"], entry["values"], entry["source"]) == ("writable", 2, f"written by {ME}")
        assert (entry["newest_ns"], listed["#/j1/lock/in/closed"]["state"]) == (
            lab.json("cat", "#/j1/lock/in/target[-1]")["values"][0]["time_ns"],
            "",
        )
    run = lab.run()
    result = read_result(run.result.read_bytes())
    count = result.written["lock/target"]
    assert (count.values, count.authors, result.nodes["lock"].restarts) == (2, {ME: 2}, 1)
    rmtree(run.writes)  # the archive alone
    assert written(lab) == [(81.5, ME), (50.0, ME)]
    assert lab.json("cat", "#/j1/lock/params/target")["value"] == 80.0
    with Archive(run.archive) as archive:
        assert sorted(archive.written()) == ["lock/in/mode", "lock/in/target"]
        times = [one.time_ns for one in archive.read("lock/in/target", 1)]
        assert times == sorted(times) and [one.author for one in archive.read("lock/in/target", 1)] == [ME, ME]
        assert json.loads(archive.facts()["written"])["lock/target"]["values"] == 2
        assert archive.attributes("lock/in/target")["unit"] == "MHz"


def test_what_was_written_stands_after_the_executor_was_killed_and_the_run_is_resumed(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    with running(lab) as executor:
        write(lab, "#lock/target", "81.5")
        write(lab, "#lock/target", "82.5")
        os.kill(executor.pid, signal.SIGKILL)
        executor.wait()
    assert lab.type("write", "#lock/target", "83").returncode == 8  # nobody is there
    before = len(seen(lab))
    with running(lab, "resume", "j1"):
        wait_until(lambda: len(seen(lab)) >= before + 2)
        assert ["target", 82.5, 2] in seen(lab)[before:] and ["target", 80.0, 0] not in seen(lab)[before:]
        assert write(lab, "#lock/target", "84")["number"] == 3
        wait_until(lambda: ["target", 84.0, 3] in seen(lab))
    result = read_result(lab.run().result.read_bytes())
    assert result.written["lock/target"].values == 3
    assert any("stands, and not its parameter" in note for note in result.nodes["lock"].notes)
    assert written(lab) == [(81.5, ME), (82.5, ME), (84.0, ME)]


def test_every_write_that_was_answered_is_there_after_the_executor_was_killed_in_the_middle(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    answered: dict[int, float] = {}
    with running(lab) as executor:
        link, enough = lab.run().write_socket, threading.Event()

        def write_on() -> None:
            with suppress(UnreachableError):
                for number in range(1_000_000):
                    value = number % 100 / 2
                    answered[ask(link, WriteRequest("lock", "target", value), "j1").seq] = value
                    if number == 100:
                        enough.set()

        writer = threading.Thread(target=write_on)
        writer.start()
        assert enough.wait(30)
        os.kill(executor.pid, signal.SIGKILL)
        executor.wait()
        writer.join(30)
        assert not writer.is_alive()
    kept = {number: value for number, (value, _) in enumerate(written(lab), 1)}
    assert answered and answered.items() <= kept.items()
    assert len(kept) - len(answered) <= 1  # one may have been kept, and its answer was lost
    with running(lab, "resume", "j1"):
        wait_until(lambda: ["target", kept[len(kept)], len(kept)] in seen(lab))


REFUSED = [
    ("#lock/target", "100.5", "outside of what is allowed, from 0.0 to 100.0 MHz", "value-wrong"),
    ("#lock/target", "-5", "-5.0 is outside of what is allowed", "value-wrong"),
    ("#lock/target", "NaN", "nan is outside", "value-wrong"),
    ("#lock/target", "81.5 MHz", "is no float", "value-wrong"),
    ("#lock/target", "[81.5", "is no value", "parameters-malformed"),
    ("#lock/mode", "5", "is no str", "value-wrong"),
    ("#lock/tagret", "5", "lock has no input 'tagret'; nearest: target", "nothing-there"),
    ("#lokc/target", "5", "nearest: lock", "nothing-there"),
    ("#lock/closed", "5", "does not open lock/closed", "write-refused"),
    ("#lock/level", "5", "lock/level is fed by the output source/level", "write-refused"),
    ("#lock/trace", "5", "lock/trace is a flow", "write-refused"),
    ("#lock/seen", "5", "is an output of lock", "nothing-there"),
    ("#lock/log", "5", "is no input", "nothing-there"),
    ("#/j1", "5", "is no input", "nothing-there"),
    ("#lock/target[0]", "5", "is no input", "nothing-there"),
    ("lock/target", "5", "an address begins with '#'", "address-malformed"),
    ("#/j7/lock/target", "5", "no run j7", "run-unknown"),
]


def test_what_does_not_fit_is_refused_in_a_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    with running(lab):
        for address, value, words, code in REFUSED:
            typed = lab.type("write", address, value)
            assert typed.returncode, address
            assert words in typed.stderr and f"[{code}]" in typed.stderr and "Next: " in typed.stderr, typed.stderr
            assert "Traceback" not in typed.stderr
        assert json.loads(lab.type("cat", "#lock/in/target", "--json").stdout)["value"] == 80.0
        for link in (lab.run().write_socket.readlink(),):
            assert (link.stat().st_mode & 0o777, link.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    ended = lab.type("write", "#/j1/lock/target", "81")
    assert "run j1 does not go on: it is stopped" in ended.stderr and "[run-unknown]" in ended.stderr
    assert not lab.run().write_socket.is_symlink()
    assert read_result(lab.run().result.read_bytes()).written == {}


def test_a_workflow_that_opens_nothing_listens_to_nobody(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    text = (tmp_path / "workflow.py").read_text()
    (tmp_path / "workflow.py").write_text("\n".join(one for one in text.splitlines() if "writable" not in one))
    with running(lab):
        assert not lab.run().write_socket.is_symlink() and not lab.run().writes.exists()
        typed = lab.type("write", "#lock/target", "81.5")
        assert "the workflow does not open lock/target for writing" in typed.stderr and typed.returncode == 5


@pytest.fixture
def common_folder() -> Iterator[Path]:
    """A folder that every user of this machine may enter."""
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
@pytest.mark.parametrize("is_named", [True, False])
def test_another_user_writes_only_where_the_workflow_names_him(common_folder: Path, is_named: bool) -> None:
    other = pwd.getpwuid(NOBODY).pw_name
    lab = laboratory(common_folder / "lab", by=f"['{other if is_named else 'daemon'}']")
    with running(lab):
        target = lab.run().write_socket.readlink()
        link = common_folder / "write"
        link.symlink_to(target)
        for closed in (lab.run().sockets.resolve(), lab.run().shared.resolve(), lab.run().journal("lock")):
            with without_privileges():
                assert not os.access(closed / "control", os.R_OK, effective_ids=True)
        with without_privileges():
            for name, may in (("target", is_named), ("mode", False)):
                request = WriteRequest("lock", name, 81.5 if name == "target" else "fast")
                if may:
                    assert ask(link, request, "j1").author == other
                    continue
                with pytest.raises(DeniedError) as refused:
                    ask(link, request, "j1")
                assert refused.value.code is Code.WRITE_REFUSED
                assert f"{other} (uid {NOBODY}) may not write lock/{name}" in refused.value.sentence
        if is_named:
            wait_until(lambda: ["target", 81.5, 1] in seen(lab))
    result = read_result(lab.run().result.read_bytes())
    assert result.written.keys() == ({"lock/target"} if is_named else set())
    notes = " ".join(result.nodes["lock"].notes)
    assert f"{other} (uid {NOBODY}) was refused to write mode" in notes
    assert ("was refused to write target" in notes) is not is_named


HOSTILE = [
    b"",
    b"\n",
    b"\0" * 100_000,
    os.urandom(5_000),
    b'{"node": "lock", "input": "target", "value": "' + b"x" * 1_000_000,
    b'{"node": "lock", "input": "target", "value": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    b'{"node": "lock", "input": "target", "value": {"$array": "%%%"}}\n',
    b'{"node": "lock", "input": "target", "value": {"$array": ["<f8", [1000000000000], []]}}\n',
    b'{"node": "lock", "input": "target", "value": 1e999}\n',
    b'{"node": "lock", "input": "target", "value": {"$bytes": 5}}\n',
    b'{"node": "\\u0000", "input": "../../target", "value": 1}\n',
    b'{"node": null}\n',
    b"GET / HTTP/1.1\r\n\r\n",
]


def test_hostile_bytes_on_the_socket_leave_the_run_undisturbed(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    with running(lab) as executor:
        path = str(lab.run().write_socket.readlink())
        for data in HOSTILE * 3:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, suppress(BrokenPipeError, ConnectionError):
                sock.settimeout(10)
                sock.connect(path)
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(65_536)
        assert executor.poll() is None
        assert write(lab, "#lock/target", "81.5")["number"] == 1
        wait_until(lambda: ["target", 81.5, 1] in seen(lab))
    assert read_result(lab.run().result.read_bytes()).end == "stopped"


# --- a flame node, and an executor that loses messages -----------------------------------------------------------

PLAIN = """
    import flame
    node = flame.Node("Plain")
    target = node.inputs.state("target", float)
    node.register()
    for record in target:
        print(record.value, record.seq, flush=True)
    print("below")
"""


def test_a_message_that_was_lost_is_seen_by_the_beat_and_sent_again(tmp_path: Path) -> None:
    with StandIn(tmp_path, {"a": PLAIN}, parameters={"a": {"target": 1.0}}, writable={"a": ["target"]}) as run:
        run.pump(lambda: "a" in run.beats)
        run.write("a", "target", 2.0)
        run.pump(lambda: run.beats["a"].written == {"target": 1})
        run.write("a", "target", 3.0, tell=False)
        run.tell_again("a", "target")
        run.tell_again("a", "target")
        run.pump(lambda: run.beats["a"].written == {"target": 2})
        run.stop()
        assert run.run() == {"a": 0}
        assert run.output("a") == "1.0 0\n2.0 1\n3.0 2\nbelow\n"


def test_one_that_is_killed_begins_with_what_was_written_last(tmp_path: Path) -> None:
    with StandIn(tmp_path, {"a": PLAIN}, parameters={"a": {"target": 1.0}}, writable={"a": ["target"]}) as run:
        run.pump(lambda: "a" in run.beats)
        run.kill("a")
        run.write("a", "target", 4.0, tell=False)
        del run.beats["a"]
        run.start("a")
        run.pump(lambda: "a" in run.beats)
        assert run.beats["a"].written == {"target": 1}
        run.stop()
        assert run.run() == {"a": 0}
        assert run.output("a") == "4.0 1\nbelow\n"


class Early(StandIn):
    """Somebody writes as soon as the flame node was told its inputs, before anything has started."""

    def _answer(self, name: str, message: control.FromNode) -> None:
        super()._answer(name, message)
        if isinstance(message, control.Hello):
            self.write(name, "target", 2.0)


def test_what_is_written_between_the_start_of_the_process_and_that_of_the_run_counts(tmp_path: Path) -> None:
    with Early(tmp_path, {"a": PLAIN}, parameters={"a": {"target": 1.0}}, writable={"a": ["target"]}) as run:
        run.pump(lambda: "a" in run.beats)
        assert run.beats["a"].written == {"target": 1}
        run.stop()
        assert run.run() == {"a": 0}
        assert run.output("a") == "2.0 1\nbelow\n"
