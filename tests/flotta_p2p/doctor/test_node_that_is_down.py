"""A node that is down: each thing that can be wrong with its files is found, named, and nothing is changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.doctor.examine import examine
from protocol.errors import Code
from protocol.kinds import BOOT, OUTBOX
from protocol.limits import MIB
from protocol.machines.contract import Put
from tests.flotta_p2p.commands.lines import run
from tests.flotta_p2p.doctor.patients import Down, audit, result
from tests.flotta_p2p.nodes import TOKEN
from tests.flotta_p2p.nodes import running as running_node

FAR_FUTURE_MS = 4_000_000_000_000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Down:
    """A node that ran once, with a few audit rows and a result."""
    folder = tmp_path_factory.mktemp("down") / "node"
    with running_node(folder, name="North", port=free_ports(1)[0], database=True):
        pass
    down = Down(folder)
    down.write(audit(1), audit(2), audit(3), result(b"a result"))
    return down


@pytest.fixture
def down(template: Down, tmp_path: Path) -> Down:
    return template.copied_to(tmp_path / "node")


def test_a_healthy_node_that_is_down_has_nothing_wrong(down: Down) -> None:
    found = down.findings()
    assert [one for one in found.values() if one.verdict == "failed"] == []
    assert found["node"].verdict == "warning"
    assert found["audit"].seen == "3 rows, whole"
    assert found["results"].seen.endswith("1 stored")
    assert found["source north"].seen.endswith("40 rows, 2 columns")
    assert "are free" in found["ports"].seen


def test_looking_changes_no_file(down: Down) -> None:
    before = down.picture()
    down.findings()
    assert down.picture() == before


def test_a_work_directory_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    findings = examine(None, tmp_path / "none", {})
    assert [one for one in findings if one.verdict == "failed" and one.check != "ports"] == []
    assert not (tmp_path / "none").exists()


def test_a_key_that_others_can_read_is_wrong(down: Down) -> None:
    (down.workdir / "keys" / "node.key").chmod(0o644)
    (finding,) = down.wrong().values()
    assert (finding.check, finding.code) == ("keys", Code.KEY_FILE_UNSAFE)
    assert "chmod 600" in finding.next_step


def test_a_key_that_is_no_key_is_wrong(down: Down) -> None:
    (down.workdir / "keys" / "transport.key").write_text("x")
    assert down.wrong()["keys"].code is Code.KEY_FILE_MALFORMED


def test_a_lost_identity_is_told_before_a_start_makes_a_new_one(down: Down) -> None:
    (down.workdir / "keys" / "node.key").unlink()
    finding = down.wrong()["keys"]
    assert "new identity" in finding.seen
    assert "backup" in finding.next_step


def test_a_work_directory_that_is_open_is_wrong(down: Down) -> None:
    down.workdir.chmod(0o755)
    assert down.wrong()["folder"].code is Code.FOLDER_UNUSABLE


def test_a_weak_token_is_wrong_and_told_once(down: Down) -> None:
    tokens = down.workdir / "projects"
    tokens.mkdir(mode=0o700, exist_ok=True)
    (tokens / "heart.token").write_text("password\n")
    (tokens / "heart.token").chmod(0o600)
    found = down.findings()
    assert found["projects"].code is Code.TOKEN_WEAK
    assert "heart.token" in found["projects"].seen


def test_an_open_token_file_is_wrong_and_not_blamed_on_the_configuration(down: Down) -> None:
    tokens = down.workdir / "projects"
    tokens.mkdir(mode=0o700, exist_ok=True)
    (tokens / "heart.token").write_text("x\n")
    (tokens / "heart.token").chmod(0o644)
    found = down.findings()
    assert found["projects"].code is Code.KEY_FILE_UNSAFE
    assert found["configuration"].verdict == "warning"


def test_an_altered_audit_row_is_found_by_its_number(down: Down) -> None:
    with down.altered() as db:
        db.execute("DROP TRIGGER audit_no_update")
        db.execute("UPDATE audit SET event = 'nothing happened' WHERE n = 2")
    finding = down.wrong()["audit"]
    assert "row 2 of the audit" in finding.seen
    assert finding.code is Code.DATABASE_FAILED


def test_audit_rows_removed_at_the_end_are_found(down: Down) -> None:
    with down.altered() as db:
        db.execute("DROP TRIGGER audit_no_delete")
        db.execute("DELETE FROM audit WHERE n = 3")
    assert "row 3 of the audit" in down.wrong()["audit"].seen


def test_a_damaged_database_is_wrong_and_names_the_backup(down: Down) -> None:
    data = bytearray(down.database.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    down.database.write_bytes(data)
    finding = down.wrong()["database"]
    assert finding.code is Code.DATABASE_FAILED
    assert "backup" in finding.next_step


def test_another_file_in_the_place_of_the_database_is_wrong(down: Down) -> None:
    down.database.write_text("my letters, all of them, since a long time ago" * 100)
    assert "is not a SQLite database" in down.wrong()["database"].seen


def test_a_database_of_a_newer_program_is_wrong(down: Down) -> None:
    with down.altered() as db:
        db.execute("PRAGMA user_version = 99")
    assert down.wrong()["database"].code is Code.DATABASE_TOO_NEW


def test_what_an_unclean_end_left_in_the_log_is_read_without_a_change(down: Down, tmp_path: Path) -> None:
    with down.altered() as db:
        db.execute("DELETE FROM records WHERE kind = 'nobody'")
        db.execute("INSERT INTO records VALUES('outbox', x'00', x'00')")
        cut = down.copied_to(tmp_path / "cut")  # as the files lie when the power goes
    before = cut.picture()
    assert "jobs.sqlite-wal" in {Path(name).name for name in before}
    found = cut.findings()
    assert found["database"].verdict == "ok", found["database"]
    assert found["audit"].seen == "3 rows, whole"
    assert cut.picture() == before
    (cut.workdir / "jobs.sqlite-shm").unlink()
    found = cut.findings()
    assert found["database"].verdict == "warning"
    assert "unclean" in found["database"].seen
    assert "jobs.sqlite-shm" not in {path.name for path in cut.workdir.iterdir()}


def test_results_that_the_database_names_and_are_not_there_are_wrong(down: Down) -> None:
    shutil.rmtree(down.workdir / "resources")
    assert "1 result" in down.wrong()["results"].seen


def test_the_quota_of_a_node_that_is_down_is_counted_from_its_database(down: Down) -> None:
    text = down.file.read_text()
    down.file.write_text(text.replace("settings:\n", "settings:\n  results:\n    quota_mb: 60\n"))
    assert down.findings()["quota"].verdict == "ok"
    down.write(*(result(bytes([number]) * MIB) for number in range(55)))
    full = down.findings()["quota"]
    assert full.verdict == "warning"
    assert full.seen == "results use 55.0 MiB of 60.0 MiB, and jobs that run reserve 0 KiB"
    down.write(result(b"x" * MIB))
    assert down.findings()["quota"].verdict == "failed"


def test_results_of_another_folder_are_wrong(down: Down) -> None:
    other = Down(down.folder.parent / "other")
    other.workdir.mkdir(parents=True)
    other.write(result(b"another result"))
    shutil.rmtree(down.workdir / "resources")
    shutil.copytree(other.workdir / "resources", down.workdir / "resources")
    assert "1 of 1 result" in down.wrong()["results"].seen


def test_a_clock_that_was_set_back_since_the_last_start_is_wrong(down: Down) -> None:
    down.write(Put(kind=BOOT, key=b"", value=FAR_FUTURE_MS.to_bytes(8)))
    findings = [one for one in examine(down.file, None, {}) if one.check == "clock" and one.verdict == "failed"]
    assert [one.code for one in findings] == [Code.TIME_OUTSIDE]


@pytest.mark.parametrize("which", [0, 1], ids=["its own", "the statement's"])
def test_a_port_that_another_program_has_is_wrong(down: Down, which: int) -> None:
    port = int(down.findings()["ports"].seen.partition(":")[2].split()[0]) + which
    with socket.create_server(("127.0.0.1", port)):
        finding = down.wrong()["ports"]
    assert finding.code is Code.PORT_TAKEN
    assert f"port {port} on 127.0.0.1" in finding.seen


def test_faults_of_the_configuration_are_told_with_their_lines_and_the_rest_is_checked(down: Down) -> None:
    down.file.write_text(down.file.read_text().replace("  port:", "  prot:"))
    found = down.findings()
    assert found["configuration"].code is Code.CONFIG_KEY_UNKNOWN
    assert "line 6" in found["configuration"].seen
    assert found["versions"].verdict == "ok"


def test_a_work_directory_is_looked_at_though_the_configuration_does_not_read(down: Down) -> None:
    down.file.write_text("- no keys at all\n")
    found = {one.check: one for one in examine(down.file, down.workdir, {})}
    assert found["configuration"].verdict == "failed"
    assert found["keys"].verdict == "ok"
    assert found["database"].verdict == "warning"


def test_messages_that_wait_for_the_next_start_are_counted(down: Down) -> None:
    down.write(Put(kind=OUTBOX, key=b"1", value=b"a frame"))
    assert down.findings()["messages"].seen == "1 message for peers, sent when the node runs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_told_with_who_should_look(down: Down) -> None:
    os.chown(down.workdir, 12345, -1)
    assert down.wrong()["folder"].next_step.startswith("run doctor, and the node, as the user")


def test_a_table_that_cannot_be_used_is_wrong(down: Down) -> None:
    (down.folder / "table.csv").write_text("value,group\n1,a\n2\n")
    assert down.wrong()["source north"].code is Code.SOURCE_RAGGED
    (down.folder / "table.csv").unlink()
    assert down.wrong()["source north"].code is Code.SOURCE_MISSING


def test_a_policy_that_opens_a_column_that_is_not_there_is_noted(down: Down) -> None:
    text = down.file.read_text()
    down.file.write_text(f"{text}    policy:\n      columns: [value, wieght]\n")
    finding = down.findings()["source north"]
    assert finding.verdict == "warning"
    assert "wieght" in finding.seen


def test_the_command_marks_what_is_wrong_and_ends_with_a_summary_and_exit_code_9(down: Down, tmp_path: Path) -> None:
    (down.workdir / "keys" / "node.key").chmod(0o644)
    ran = run(tmp_path, "doctor", "-c", str(down.file))
    assert (ran.code, ran.err) == (9, "")
    *_, last = ran.out.splitlines()
    assert last.startswith("1 failed (keys), ")
    assert last.endswith("More about one: flotta-p2p explain key-file-unsafe")
    assert "FAILED   keys            the file " in ran.out
    assert "[key-file-unsafe]" in ran.out
    assert "\x1b" not in ran.out, "colours are for terminals"
    values = run(tmp_path, "doctor", "-c", str(down.file), "--json").values
    assert values["verdict"] == "failed"
    assert [one["check"] for one in values["findings"] if one["verdict"] == "failed"] == ["keys"]


def test_the_command_says_when_nothing_is_wrong_and_tells_no_secret(down: Down, tmp_path: Path) -> None:
    ran = run(tmp_path, "doctor", "-c", str(down.file))
    assert ran.code == 0
    assert TOKEN not in ran.out
    assert ran.out.splitlines()[-1].startswith("Nothing is wrong: ")


@pytest.mark.parametrize("no_colour", [False, True])
def test_on_a_terminal_verdicts_are_coloured_and_sentences_wrapped(down: Down, no_colour: bool) -> None:
    text = on_a_terminal(["doctor", "-c", str(down.file)], columns=90, **({"NO_COLOR": "1"} if no_colour else {}))
    assert ("\x1b[32m" in text) is not no_colour
    plain = re.sub(r"\x1b\[\d*m", "", text)
    assert "Nothing is wrong: " in plain
    (versions,) = re.findall(r"^ok       versions .*\r\n((?: {25}\S.*\r\n)+)", plain, re.MULTILINE)
    assert "cryptography" in versions


def on_a_terminal(words: list[str], *, columns: int, **more: str) -> str:
    """What a person sees of a command on a terminal of this width."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")} | more
    program = [sys.executable, "-P", "-m", "flotta_p2p", *words]
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the terminal of a process that has ended
            while data := os.read(mine, 4096):
                seen += data
        process.wait(30)
    os.close(mine)
    return seen.decode()
