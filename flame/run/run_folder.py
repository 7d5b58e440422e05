"""Where a run keeps what belongs to it: `flame_runs/`, beside the workflow, with one folder for each run.

    flame_runs/
      .gitignore           everything in here is made by runs
      last                 number of the newest run
      j41/
        run.json           RunDocument: written and synced before anything starts
        result.json        RunResult: written when the run has ended, and anew when its archive is there; removed
                           when the run is taken up again
        lock               held by the executor as long as it lives
        logs/NODE.txt      what the flame node printed
        nodes/NODE/        its journal
        writes/            journal of what `flame write` wrote, where the workflow opens an input
        write              link to the socket for that; removed at the end
        shared             payloads of large arrays that are on their way: a link into memory, or a folder
                           where there is not enough; removed at the end
        sockets            link to the folder of its sockets; removed at the end
        sources/           the files that ran
        sources-before-resume-2/   those that ran before, where the second resume was with others
        j41.h5             the archive

Values of a laboratory: `claim` makes `flame_runs/` for this user alone, and a run as open as the folder is by then, so
that its owner may let others in by `chmod`.

Paths and names. `find_runs` and `all_runs` look at the disk; `claim` alone changes it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from flame.run.whole_files import make_like_its_parent, write_like_its_folder
from protocol.errors import AddressError, Code, StorageError

RUNS_FOLDER: Final = "flame_runs"
_ALIAS: Final = re.compile(r"j[1-9][0-9]{0,8}", re.ASCII)


class RunFolder:
    """The folder of one run. `alias` is its short name, `j41`."""

    def __init__(self, runs: Path, alias: str) -> None:
        if not is_alias(alias):
            raise AddressError(
                Code.ADDRESS_MALFORMED, f"{alias!r} is not the name of a run", next_step="`flame ps` lists them: j1, j2"
            )
        self.alias = alias
        self.number = int(alias[1:])
        self.path = runs / alias

    @property
    def document(self) -> Path:
        return self.path / "run.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def shared(self) -> Path:
        return self.path / "shared"

    @property
    def sockets(self) -> Path:
        """A link to the folder of its sockets, while it runs."""
        return self.path / "sockets"

    @property
    def writes(self) -> Path:
        """The journal of what was written to inputs while it ran."""
        return self.path / "writes"

    @property
    def write_socket(self) -> Path:
        """A link to the socket by which inputs are written, while it runs and where the workflow opens one."""
        return self.path / "write"

    @property
    def sources(self) -> Path:
        return self.path / "sources"

    @property
    def archive(self) -> Path:
        return self.path / f"{self.alias}.h5"

    def log(self, node: str) -> Path:
        return self.path / "logs" / f"{node}.txt"

    def journal(self, node: str) -> Path:
        return self.path / "nodes" / node


def is_node_name(text: str) -> bool:
    """Whether files of a flame node of this name lie in the folder of its run, and nowhere else."""
    return is_below(text) and "/" not in text


def is_below(text: str) -> bool:
    """Whether this path of a file in `sources/` leads nowhere else."""
    return "\0" not in text and not {"", ".", ".."}.intersection(text.split("/"))


def is_alias(text: str) -> bool:
    return _ALIAS.fullmatch(text) is not None


def find_runs(start: Path) -> Path | None:
    """The nearest `flame_runs` in `start` or a folder above it."""
    for folder in (start, *start.parents):
        if (folder / RUNS_FOLDER).is_dir():
            return folder / RUNS_FOLDER
    return None


def all_runs(runs: Path) -> list[RunFolder]:
    """Oldest first. Raises StorageError when this user may not look into the folder."""
    try:
        names = [entry.name for entry in runs.iterdir()] if runs.is_dir() else []
    except OSError as error:
        raise StorageError(
            Code.FOLDER_UNUSABLE,
            f"the runs in {runs} cannot be listed: {error.strerror}",
            next_step="ask its owner to let you in, or name another folder with --runs",
        ) from error
    return [RunFolder(runs, name) for name in sorted(filter(is_alias, names), key=lambda name: int(name[1:]))]


def claim(runs: Path) -> RunFolder:
    """Make the folder of a new run, under a number that no run had. Two callers never get the same."""
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = runs / ".gitignore"
    if not ignore.exists():
        write_like_its_folder(ignore, "*\n")
    last = all_runs(runs)
    number = max(_remembered(runs), last[-1].number if last else 0)
    while True:
        number += 1
        folder = RunFolder(runs, f"j{number}")
        try:
            make_like_its_parent(folder.path)
        except FileExistsError:
            continue
        _remember(runs, number)
        return folder


def _remembered(runs: Path) -> int:
    """A run that was removed keeps its number: an address never means another run."""
    try:
        return int((runs / "last").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _remember(runs: Path, number: int) -> None:
    fresh = runs / f"last.{os.getpid()}"
    write_like_its_folder(fresh, f"{number}\n")
    fresh.replace(runs / "last")
