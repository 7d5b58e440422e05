"""The manual's first steps, command by command, on three machines that are network namespaces."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from flotta_p2p.channels import ControlChannel
from protocol.errors import FlottaError
from protocol.wire.control import AskPeers, AskStatus
from tests.system.netns import Namespace, command_in, namespaces
from tests.system.nodes import STOP_LIMIT_S
from tests.system.processes import wait_until

pytestmark = [pytest.mark.system, pytest.mark.netns]
ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^([a-z]+)\$ (flotta-p2p .*)$", re.MULTILINE)
LIMIT_S = 90


class Machine:
    """A home, and a terminal in a namespace."""

    def __init__(self, home: Path, runtime: str, place: Namespace) -> None:
        """`runtime`: a folder with a short path, for sockets."""
        self.home, self._place = home, place
        home.mkdir()
        shutil.copy(ROOT / "flotta_p2p" / "tables" / "penguins.csv", home)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "FLOTTA_"))}
        self._environment = kept | {"HOME": str(home), "XDG_RUNTIME_DIR": runtime}

    @property
    def workdir(self) -> Path:
        return self.home / ".local" / "share" / "flotta-p2p"

    def argv(self, line: str) -> list[str]:
        program, *words = shlex.split(line)
        assert program == "flotta-p2p"
        return command_in(self._place, [sys.executable, "-m", "flotta_p2p", *words])

    def types(self, line: str, typed: str = "") -> str:
        """One command to its end, which must be a good one; what it showed."""
        ran = subprocess.run(
            self.argv(line),
            input=typed,
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert ran.returncode == 0, f"{line}:\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    @contextmanager
    def up(self, line: str) -> Iterator[None]:
        with (self.home / "node.log").open("wb") as log:
            node = subprocess.Popen(
                self.argv(line),
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: self._is_ready() or node.poll() is not None, LIMIT_S)
            assert node.poll() is None, (self.home / "node.log").read_text()
            yield
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(STOP_LIMIT_S)

    def _is_ready(self) -> bool:
        status = self.asked(AskStatus())
        return bool(status) and all(source and source["state"] == "ready" for source in status["sources"])

    def asked(self, question: object) -> dict[str, list[dict[str, str]]]:
        """What its node reports, or nothing while it does not answer."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("XDG_RUNTIME_DIR", self._environment["XDG_RUNTIME_DIR"])
            try:
                channel = ControlChannel(self.workdir)
            except FlottaError:
                return {}
            try:
                values: dict[str, list[dict[str, str]]] = channel.request(question).values
                return values
            finally:
                channel.close()

    def has_peer_with_table(self) -> bool:
        peers = self.asked(AskPeers()).get("peers", [])
        return [(one["presence"], bool(one["sources"])) for one in peers] == [("present", True)]


@pytest.mark.timeout(300)
def test_the_first_steps_of_the_manual_lead_two_holders_and_a_researcher_to_an_answer(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "first-steps.md").read_text("utf-8")
    steps = COMMAND.findall(text)
    assert len(steps) == text.count("$ flotta-p2p") and len(steps) > 12, "every command of the page is typed"
    shown: dict[str, str] = {}
    with namespaces(3) as places, ExitStack() as nodes:
        names = ("north", "south", "researcher")
        machines = {
            name: Machine(tmp_path / name, nodes.enter_context(tempfile.TemporaryDirectory(prefix="fp-")), place)
            for name, place in zip(names, places, strict=True)
        }
        for name, written in steps:
            machine, line = machines[name], written.replace("north.example.org", places[0].address)
            match line.split()[1:3]:
                case ["up"]:
                    nodes.enter_context(machine.up(line))
                case ["join"]:
                    shown[written] = machine.types(line, typed=_first(r"fp2p-invite:\S+", "".join(shown.values())))
                case ["key", "new"] if name == "researcher":
                    _keep_token(machine.home / "heart.token", _first(r"fp2p_\S+", "".join(shown.values())))
                    shown[written] = machine.types(line)
                case ["peers"]:
                    wait_until(lambda: all(machines[one].has_peer_with_table() for one in names[:2]), LIMIT_S)
                    shown[written] = machine.types(line)
                case _:
                    shown[written] = machine.types(line)
    answer = next(out for line, out in shown.items() if " submit " in line and "--by" not in line)
    assert "684" in answer, "342 of 344 penguins were weighed, at each of the two holders"
    groups = next(out for line, out in shown.items() if "--by species" in line)
    assert all(species in groups for species in ("Adelie", "Chinstrap", "Gentoo"))


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[0]


def _keep_token(file: Path, token: str) -> None:
    file.touch(mode=0o600)
    file.write_text(f"{token}\n")
