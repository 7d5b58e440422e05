"""Real nodes in one folder: made, started, killed and taken away again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from actors.adapters.control_socket import control_path
from actors.adapters.private_files import create_private_file, make_private_folder
from actors.children import PARENT_VARIABLE
from flotta_p2p.demo.interrupts import Interrupts
from flotta_p2p.programs import launcher_argv
from flotta_p2p.tables.shares import penguin_shares
from protocol.errors import Code, ConfigError
from protocol.limits import NODE_STOP_MS

HOST: Final = "127.0.0.1"
SOURCE: Final = "penguins"  # the data source of every holder, and the local name of their project
_PORTS: Final = range(20_000, 32_000, 2)  # below those that Linux gives to outgoing connections
_PORT_TRIES_MAX: Final = 200
_END_LIMIT_S: Final = NODE_STOP_MS / 1000 + 3  # a launcher kills its node after NODE_STOP_MS and needs a moment more
_REMOVE_LIMIT_S: Final = 2.0  # what was killed may still be writing; the system ends it within moments
_CONFIG: Final = """\
# A data holder of the demo. Start it again with: flotta-p2p up -c THIS_FILE
workdir: ./work
node:
  name: {name}
  interface: {host}
  port: {port}
  token_projects_initial:
    - name: {source}
      token: {token}
datasources:
  - name: {source}
    type: csv
    path: {source}.csv
    token: [{source}]
"""


@dataclass
class Holder:
    """One node with its folder, its table and its launcher."""

    name: str
    folder: Path
    port: int
    table_text: str
    launcher: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def workdir(self) -> Path:
        return self.folder / "work"

    @property
    def table(self) -> Path:
        return self.folder / f"{SOURCE}.csv"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def rows(self) -> int:
        return len(self.table_text.splitlines()) - 1

    @property
    def columns(self) -> int:
        return self.table_text.partition("\n")[0].count(",") + 1


class Fleet:
    """Entered, one launcher runs for each share; left, no process, socket or (unless kept) folder of theirs exists.

    One thread. Raises ConfigError when folder or ports cannot be had.
    """

    def __init__(
        self, token: str, keep: Path | None, interrupts: Interrupts, shares: Mapping[str, str] | None = None
    ) -> None:
        """`shares`: name of each node → text of its table; by default the demo's three islands."""
        self._token = token
        self._shares = penguin_shares() if shares is None else shares
        self._keep = keep
        self._interrupts = interrupts
        self.folder: Path | None = None
        self.holders: list[Holder] = []

    def __enter__(self) -> Self:
        try:
            with self._interrupts.held():
                self._begin()
        except BaseException:
            with self._interrupts.held():
                self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._interrupts.held():
            self._end()

    def check_running(self) -> None:
        """Raises ConfigError with the last line of its log when a node has ended by itself."""
        for holder in self.holders:
            if holder.launcher is not None and holder.launcher.poll() is not None:
                raise ConfigError(
                    Code.NODE_NOT_RUNNING,
                    f"the node {holder.name} ended with code {holder.launcher.returncode}: {self.last_words(holder)}",
                    next_step="run `flotta-p2p demo --keep FOLDER` and read node.log there",
                )

    def last_words(self, holder: Holder) -> str:
        lines = holder.log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), "it said nothing")[:300]

    def kill(self, holder: Holder, node_pid: int) -> None:
        """SIGKILL for the launcher, and so for all that it started; for the node too, where systems do not link them.

        `node_pid` may be frozen.
        """
        assert holder.launcher is not None
        with self._interrupts.held():
            launcher, holder.launcher = holder.launcher, None
            launcher.kill()
            launcher.wait()
            with contextlib.suppress(ProcessLookupError):
                os.kill(node_pid, signal.SIGKILL)

    # --- begin and end ---------------------------------------------------------------------------

    def _begin(self) -> None:
        folder = self.folder = _make_folder(self._keep)
        shares = self._shares
        for (name, table_text), port in zip(shares.items(), free_ports(len(shares)), strict=True):
            holder = Holder(name=name, folder=folder / name.lower(), port=port, table_text=table_text)
            self.holders.append(holder)
            self._furnish(holder)
        for holder in self.holders:
            self._start(holder)

    def _furnish(self, holder: Holder) -> None:
        make_private_folder(holder.folder)
        holder.table.write_text(holder.table_text, encoding="utf-8")
        config = _CONFIG.format(name=holder.name, host=HOST, port=holder.port, source=SOURCE, token=self._token)
        create_private_file(holder.config, config.encode())

    def _start(self, holder: Holder) -> None:
        """In a session of its own: Ctrl-C is for us, and we end it in order. Should we be killed, it dies with us."""
        with holder.log.open("wb") as log:
            holder.launcher = subprocess.Popen(
                launcher_argv(holder.config),
                cwd=holder.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
            )

    def _end(self) -> None:
        running = [holder.launcher for holder in self.holders if holder.launcher is not None]
        for launcher in running:
            launcher.terminate()
        deadline_s = time.monotonic() + _END_LIMIT_S
        for launcher in running:
            try:
                launcher.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                launcher.kill()
                launcher.wait()
        for holder in self.holders:
            control_path(holder.workdir).unlink(missing_ok=True)
        if self._keep is None and self.folder is not None:
            _remove(self.folder)


def _make_folder(keep: Path | None) -> Path:
    """A new temporary folder, or the empty one to keep. Raises ConfigError."""
    try:
        if keep is None:
            return Path(tempfile.mkdtemp(prefix="flotta-p2p-demo-"))
        folder = keep.absolute()
        make_private_folder(folder)
        if any(folder.iterdir()):
            raise ConfigError(
                Code.FOLDER_UNUSABLE, f"the folder {folder} is not empty", next_step="give a new folder to --keep"
            )
    except OSError as error:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the demo needs a folder, and {keep or tempfile.gettempdir()} cannot be used: {error.strerror or error}",
            next_step="set TMPDIR, or give --keep, to a folder of this user on a disk with room",
        ) from error
    return folder


def free_ports(count: int) -> list[int]:
    """So many ports p of loopback, free together with p + 1, where a node serves its statement. All are held until the
    last is found. Raises ConfigError.
    """
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(_PORTS, _PORT_TRIES_MAX):
            if len(found) == count:
                break
            pair = [held.enter_context(socket.socket()) for _ in range(2)]
            with contextlib.suppress(OSError):
                pair[0].bind((HOST, port))
                pair[1].bind((HOST, port + 1))
                found.append(port)
    if len(found) < count:
        raise ConfigError(
            Code.PORT_TAKEN,
            f"no {count} pairs of free ports were found on {HOST} between {_PORTS.start} and {_PORTS.stop}",
            next_step="end programs that hold many ports, or try again",
        )
    return found


def _remove(folder: Path) -> None:
    """Raises ConfigError when something of it stays."""
    deadline_s = time.monotonic() + _REMOVE_LIMIT_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline_s:
            raise ConfigError(
                Code.FOLDER_UNUSABLE, f"the folder {folder} could not be removed", next_step="remove it by hand"
            )
