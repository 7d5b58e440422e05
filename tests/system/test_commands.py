"""The command line against real nodes in temporary folders, and through the door."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flotta_p2p import submission
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.programs import launcher_argv
from flotta_p2p.tables.shares import penguin_shares
from protocol.ids import parse_id
from protocol.plan.order import Order, sign_order
from protocol.signing import SigningKey
from protocol.tokens import new_token
from tests.flotta_p2p.commands.lines import Ran, run
from tests.system.nodes import RunningNode, descendants, node_yaml, running_node
from tests.system.processes import wait_until

pytestmark = pytest.mark.system
TOKEN = new_token(b"commands of a person")
LIMIT_S = 30.0
Line = Callable[..., Ran]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One node with 168 penguins, and a person with a key."""
    folder = tmp_path_factory.mktemp("biscoe")
    share = penguin_shares()["Biscoe"]
    with running_node(folder, name="Biscoe", port=free_ports(1)[0], token=TOKEN, csv_text=share) as one:
        assert run(folder, "key", "new").code == 0
        (folder / "token").write_text(TOKEN + "\n")
        yield one


@pytest.fixture
def here(node: RunningNode) -> Line:
    """Runs a command for the node of this machine."""
    return lambda *words, **more: run(node.folder, *words, "-c", str(node.config), **more)


@pytest.fixture
def door(node: RunningNode) -> Line:
    """Runs a command through the node's door."""
    way = ("--to", node.address, "--token-file", str(node.folder / "token"))
    return lambda *words, **more: run(node.folder, *words, *way, **more)


@pytest.fixture
def held(node: RunningNode) -> Iterator[None]:
    """The processes that compute stand still, so that a job cannot end by itself."""
    stopped = computing(node)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in set(stopped) & set(node.all_pids()):
        os.kill(pid, signal.SIGCONT)


def computing(node: RunningNode) -> list[int]:
    """The children that compute tasks; one is always kept ready."""

    def found() -> list[int]:
        return [one for one in node.child_pids if b"federated.child" in Path(f"/proc/{one}/cmdline").read_bytes()]

    node.wait_until(lambda _: found())
    return found()


# --- the node ----------------------------------------------------------------------------------


def test_status_and_peers_are_text_and_json(here: Line, node: RunningNode) -> None:
    node.wait_until(lambda one: one.status()["sources"][0]["state"] == "ready")
    text = here("status").out
    assert node.address in text
    assert "body_mass_g (number)" in text
    values = here("status", "--json").values
    assert (values["name"], values["projects"][0]["name"]) == ("Biscoe", "penguins")
    assert "No peers yet" in here("peers").out
    nobody = {"peers": [], "strangers": [], "joins": [], "bans": [], "only_accepted": False, "left": False}
    assert here("peers", "--json").values == here("peers", "list", "--json").values == nobody


def test_a_new_project_is_known_to_the_running_node_at_once(here: Line) -> None:
    made = here("project", "new", "heart", "--json").values
    assert made["node_told"] is True
    listed = here("project", "list", "--json").values["projects"]
    assert {"name": "heart", "id": made["id"], "in_node": True} in listed
    assert "penguins" in {one["name"] for one in listed}


def test_peers_that_met_are_shown_with_their_sources_and_answer_together(tmp_path: Path) -> None:
    shares = penguin_shares()
    ports = free_ports(2)
    with (
        running_node(
            tmp_path / "a", name="Dream", port=ports[0], token=TOKEN, csv_text=shares["Dream"], discovery=True
        ) as one,
        running_node(
            tmp_path / "b", name="Torgersen", port=ports[1], token=TOKEN, csv_text=shares["Torgersen"], discovery=True
        ),
    ):
        one.wait_until(lambda node: node.status()["peers"]["present"] == 1)
        place = ("-c", str(one.config))
        peers = run(tmp_path, "peers", *place)
        assert "Torgersen  present   penguins  torgersen" in peers.out
        assert one.peers()["peers"][0]["node"] in peers.out
        assert run(tmp_path, "key", "new").code == 0
        question = ("submit", "--project", "penguins", "--columns", "year", "--holders-min", "2")
        values = run(tmp_path, *question, *place, "--json").values
        assert values["rows"] == 124 + 52
        assert {one["name"] for one in values["coverage"]["by_source"]} == {"Dream", "Torgersen"}


# --- jobs --------------------------------------------------------------------------------------


def test_submit_waits_and_shows_the_result_and_the_job_is_found_again(here: Line) -> None:
    question = ("submit", "--project", "penguins", "--columns", "body_mass_g,year", "--bins", "body_mass_g:2500:6500:8")
    ran = here(*question)
    assert ran.code == 0, ran.err
    assert "168 rows of 1 of 1 sources" in ran.out
    assert "Biscoe/biscoe" in ran.out
    assert "succeeded: 3 of 3 tasks done" in ran.err
    short = ran.out.split()[1]
    assert short in here("jobs").out
    assert "succeeded" in here("job", "show", short).out
    result = here("job", "result", short, "--json").values
    assert result["columns"]["body_mass_g"]["present"] == 167
    assert result["job"].startswith(short)
    assert here("job", "wait", short, "--json").values == result


def test_submitting_again_is_a_new_job_and_sending_again_is_not(here: Line, node: RunningNode) -> None:
    question = ("--project", "penguins", "--columns", "year")
    one, other = (here("submit", *question, "--json").values["job"] for _ in range(2))
    assert one != other
    file = str(node.folder / "order.flp")
    signed = here("sign", *question, "-o", file, "--json").values  # the token is that of the configuration
    sent = [here("send", file, "--json").values["job"] for _ in range(2)]
    assert sent == [signed["job"]] * 2
    assert here("job", "wait", signed["job"]).code == 0


def test_through_the_door_a_person_without_a_node_has_all_commands(door: Line) -> None:
    ran = door("submit", "--columns", "year", "--json")
    assert ran.code == 0, ran.out
    job = ran.values["job"]
    assert job in {one["job"] for one in door("jobs", "--json").values["jobs"]}
    assert door("job", "show", job[:9], "--json").values["state"] == "succeeded"
    assert door("job", "result", job, "--json").values["rows"] == 168


def test_a_submitter_removes_the_own_job_through_the_door_and_nobody_else_does(
    door: Line, here: Line, node: RunningNode, tmp_path: Path
) -> None:
    job = door("submit", "--columns", "year", "--json").values["job"]
    assert run(tmp_path, "key", "new").code == 0
    way = ("--to", node.address, "--token-file", str(node.folder / "token"))
    assert "[job-unknown]" in run(tmp_path, "job", "remove", job, *way).refused(5)
    assert run(tmp_path, "job", "remove", "--ended-before", "1ms", *way, "--json").values["removed"] == []
    (removed,) = door("job", "remove", job[:9], "--json").values["removed"]
    assert (removed["job"], removed["by"], removed["already"]) == (job, "submitter", False)
    other = door("submit", "--columns", "year", "--json").values["job"]
    all_of_mine = door("job", "remove", "--ended-before", "1ms", "--project", "penguins", "--json").values["removed"]
    assert {"job": other, "already": False} in all_of_mine
    assert job not in {one["job"] for one in here("jobs", "--json").values["jobs"]}
    assert "its submitter removed the job" in door("job", "result", job).refused(5)


def test_of_several_jobs_each_is_removed_for_itself_and_what_is_refused_is_named(here: Line) -> None:
    job = here("submit", "--project", "penguins", "--columns", "year", "--json").values["job"]
    ran = here("job", "remove", "jzzzzzz", job)
    assert (ran.code, ran.out.count(f"job {job} is removed; this frees ")) == (5, 1)
    assert "[job-unknown]" in ran.err
    values = here("job", "remove", "jzzzzzz", job, "--json").values
    assert [one["already"] for one in values["removed"]] == [True]
    assert [one["code"] for one in values["refused"]] == ["job-unknown"]


def test_the_order_of_a_removed_job_is_refused_when_it_is_sent_again(here: Line, node: RunningNode) -> None:
    file = str(node.folder / "removed.flp")
    job = here("sign", "--project", "penguins", "--columns", "year", "-o", file, "--json").values["job"]
    assert here("send", file).code == 0
    assert here("job", "wait", job).code == 0
    assert here("job", "remove", job).code == 0
    assert "[job-removed]" in here("send", file).refused(5)


def test_a_running_job_is_not_removed(here: Line, held: None) -> None:
    submitted = here("submit", "--project", "penguins", "--columns", "year", "--no-wait", "--json").values
    assert "[job-not-ended]" in here("job", "remove", submitted["job"]).refused(5)


@pytest.mark.parametrize("way", ["here", "door"])
def test_only_the_node_that_a_person_asks_may_lead_the_job(
    way: str, node: RunningNode, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every holder gets to see the order: none of them may lead it at others, and see what they let out."""
    signed: list[Order] = []

    def noted(order: Order, key: SigningKey) -> tuple[bytes, bytes]:
        signed.append(order)
        return sign_order(order, key)

    monkeypatch.setattr(submission, "sign_order", noted)
    ask: Line = request.getfixturevalue(way)
    assert ask("submit", "--project", "penguins", "--columns", "year").code == 0
    assert [one.schedulers for one in signed] == [(parse_id(node.status()["node"]),)]


def test_a_wrong_token_opens_no_door(node: RunningNode) -> None:
    other = {"FLOTTA_TOKEN": new_token(b"a token of others...")}
    line = ("submit", "--columns", "year", "--to", node.address)
    refused = run(node.folder, *line, environment=other).refused(5)
    assert "it does not know the token's project" in refused and "project list" in refused


def test_at_an_address_where_nobody_listens_the_wait_is_short(node: RunningNode) -> None:
    line = ("jobs", "--to", f"127.0.0.1:{free_ports(1)[0]}", "--token-file", str(node.folder / "token"))
    began = time.monotonic()
    run(node.folder, *line).refused(4)
    assert time.monotonic() - began < 10


def test_an_unknown_column_fails_the_job_naming_node_job_cause_and_next_step(here: Line) -> None:
    ran = here("submit", "--project", "penguins", "--columns", "body_mass")
    line = ran.refused(1)
    for part in ("job j", "failed at node Biscoe", 'no column "body_mass"', "did you mean body_mass_g?"):
        assert part in line
    as_json = here("submit", "--project", "penguins", "--columns", "body_mass", "--json")
    assert as_json.code == 1
    assert as_json.values["error"]["code"] == "column-unknown"
    assert here("job", "result", as_json.values["error"]["job"]).code == 1


def test_an_unknown_project_is_refused_naming_those_that_exist(here: Line) -> None:
    assert "penguins" in here("submit", "--project", "heat", "--columns", "year").refused(5)


def test_an_expired_order_is_refused(here: Line, node: RunningNode) -> None:
    file = str(node.folder / "late.flp")
    assert here("sign", "--project", "penguins", "--columns", "year", "--life", "1s", "-o", file).code == 0
    time.sleep(1.2)
    assert "the order expired" in here("send", file).refused(5)


def test_an_altered_order_is_refused(here: Line, node: RunningNode) -> None:
    file = node.folder / "altered.flp"
    assert here("sign", "--project", "penguins", "--columns", "year", "-o", str(file)).code == 0
    file.write_bytes(file.read_bytes().replace(b"year", b"rear"))
    assert "valid signature" in here("send", str(file)).refused(5)


def test_a_job_id_that_nobody_knows_is_refused(here: Line) -> None:
    unknown = here("job", "show", "jzzzzzz").refused(5)
    assert "none of the newest jobs" in unknown and "a removed job is found by its whole id" in unknown
    here("job", "show", "jz").refused(8)
    here("job", "result", "j" + "a" * 52).refused(5)


def test_a_wait_ends_at_its_limit_and_a_running_job_is_cancelled_by_its_submitter(
    here: Line, node: RunningNode, held: None
) -> None:
    job = here("submit", "--project", "penguins", "--columns", "year", "--no-wait", "--json").values["job"]
    assert "is still running" in here("job", "wait", job, "--limit", "300ms").refused(6)
    here("job", "result", job).refused(5)
    stranger = str(node.folder / "stranger.key")
    assert run(node.folder, "key", "new", "--key", stranger).code == 0
    assert "only its submitter" in here("job", "cancel", job, "--key", stranger).refused(5)
    assert here("job", "cancel", job).code == 0
    ended = here("job", "wait", job, "--limit", "20s", "--json")
    assert (ended.code, ended.values["status"]["state"]) == (1, "cancelled")


def test_ctrl_c_ends_the_wait_and_not_the_job(here: Line, node: RunningNode, held: None) -> None:
    key = node.folder / "config" / "flotta-p2p" / "person.key"
    line = ["submit", "--project", "penguins", "--columns", "year", "-c", str(node.config), "--key", str(key)]
    waiting = subprocess.Popen(
        [sys.executable, "-P", "-m", "flotta_p2p", *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert "is submitted; its node keeps jobs in memory" in said
        assert waiting.stderr.readline().startswith("running: ")
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=LIMIT_S)
    finally:
        waiting.kill()
        waiting.communicate()
    assert (waiting.returncode, out) == (130, "")
    last = err.strip().splitlines()[-1]
    assert "interrupted" in last
    assert "the job goes on" in last
    assert "Traceback" not in err
    cancel = shlex.split(last.rpartition("or flotta-p2p ")[2])
    job = cancel[-1]
    assert here("job", "show", job, "--json").values["state"] == "running"
    assert run(node.folder, *cancel).code == 0  # as it stands in the message


def test_a_command_names_its_job_and_how_to_find_it_when_the_node_dies(tmp_path: Path) -> None:
    table = "value\n" + "1\n" * 20
    port = free_ports(1)[0]
    with running_node(tmp_path / "mortal", name="Mortal", port=port, token=TOKEN, csv_text=table) as mortal:
        assert run(mortal.folder, "key", "new").code == 0
        mortal.wait_until(lambda one: one.status()["sources"][0]["state"] == "ready")
        for pid in computing(mortal):
            os.kill(pid, signal.SIGSTOP)
        key = mortal.folder / "config" / "flotta-p2p" / "person.key"
        line = ["submit", "--project", "penguins", "--columns", "value", "-c", str(mortal.config), "--key", str(key)]
        waiting = subprocess.Popen([sys.executable, "-P", "-m", "flotta_p2p", *line], stderr=subprocess.PIPE, text=True)
        try:
            assert waiting.stderr is not None
            job = waiting.stderr.readline().split()[1]
            assert waiting.stderr.readline().startswith("running: ")
            os.kill(mortal.node_pid, signal.SIGKILL)
            _, err = waiting.communicate(timeout=LIMIT_S)
        finally:
            waiting.kill()
            waiting.communicate()
    last = err.strip().splitlines()[-1]
    assert waiting.returncode == 4
    assert last.startswith(f"flotta-p2p: job {job}")
    assert f"flotta-p2p job wait -c {mortal.config} " in last and f" {job} [" in last


@pytest.mark.parametrize("after_s", [0.0, 0.15, 0.3])
def test_ctrl_c_while_a_node_starts_ends_it_without_a_traceback(tmp_path: Path, after_s: float) -> None:
    config = config_in(tmp_path, node_yaml(name="Early", port=free_ports(1)[0], token=TOKEN, source=False))
    line = [sys.executable, "-P", "-m", "flotta_p2p", "up", "-c", str(config)]
    starting = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: _processor_s(starting.pid) >= 0.08)  # the interpreter itself has started: our code is loading
    time.sleep(after_s)
    os.killpg(starting.pid, signal.SIGINT)
    _, err = starting.communicate(timeout=LIMIT_S)
    assert starting.returncode in (0, 130, -signal.SIGINT)
    assert "Traceback" not in err


def _processor_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# --- a node that cannot start ------------------------------------------------------------------


def up(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m flotta_p2p -c FILE`, which ends by itself."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "flotta_p2p", "-c", str(config), *options],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def config_in(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "node.yaml").write_text(text)
    return folder / "node.yaml"


def said(ended: subprocess.CompletedProcess[str], code: int) -> str:
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Next: " in ended.stderr
    return ended.stderr


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        config = config_in(tmp_path, node_yaml(name="N", port=port, token=TOKEN, source=False))
        ended, as_json = up(config), up(config, "--json")
    assert said(ended, 3).count(f"port {port} on 127.0.0.1 is in use") == 1
    assert (as_json.returncode, json.loads(as_json.stdout)["error"]["code"]) == (3, "port-taken")


def test_a_folder_of_another_node_is_said_at_once(node: RunningNode, tmp_path: Path) -> None:
    text = node_yaml(name="N", port=free_ports(1)[0], token=TOKEN, source=False)
    ended = up(config_in(tmp_path, text.replace("./work", str(node.workdir))))
    assert f"{node.workdir} is in use by process {node.node_pid}" in said(ended, 3)


def test_an_unsafe_key_file_of_the_node_is_said_at_once(tmp_path: Path) -> None:
    config = config_in(tmp_path, node_yaml(name="N", port=free_ports(1)[0], token=TOKEN, source=False))
    keys = tmp_path / "work" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    keys.parent.chmod(0o700)
    (keys / "node.key").write_text("no key\n")
    (keys / "node.key").chmod(0o600)
    assert "node.key does not hold" in said(up(config), 3)


def test_a_faulty_configuration_starts_nothing(tmp_path: Path) -> None:
    config = config_in(tmp_path, "node:\n  prt: 1\n")
    ended = up(config)
    assert ended.returncode == 3
    assert "line 2: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "work").exists()


def test_up_runs_until_sigterm_and_leaves_no_process(tmp_path: Path) -> None:
    config = config_in(tmp_path, node_yaml(name="Alone", port=free_ports(1)[0], token=TOKEN, source=False))
    program = [sys.executable, "-P", "-m", "flotta_p2p", "up", "-c", str(config)]
    running = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        assert any("listening on" in line for line in running.stderr)
        assert run(tmp_path, "status", "-c", str(config)).code == 0
        assert Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")[3] == launcher_argv(config)[3].encode()
        below = descendants(running.pid)
        running.terminate()
        running.communicate(timeout=LIMIT_S)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in below)
    run(tmp_path, "status", "-c", str(config)).refused(4)
