"""What is done for runs in a process of its own: `python -m actors.flame_chore WHAT FOLDER …`.

It runs under the interpreter of the run. The node neither loads what this loads nor waits for a program of a person.
The answer is one JSON document on standard output, `Answered`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from actors.adapters.flame_processes import environment
from actors.child_bootstrap import adopt_parent_death, parent_pid
from flame.run.run_folder import RunFolder
from protocol.errors import Code, FlottaError, WorkflowError
from protocol.limits import FLAME_DROP_MS, FLAME_REASON_CHARS_MAX

TAKE_UP = "take-up"
ARCHIVE = "archive"
DROP = "drop"


class Answered(msgspec.Struct, frozen=True):
    """`code` "": it is done."""

    code: str = ""
    sentence: str = ""
    next_step: str = ""


def main(what: str, folder: str, *words: str) -> None:
    adopt_parent_death(parent_pid())
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    run = RunFolder(Path(folder).parent, Path(folder).name)
    try:
        chores: dict[str, Callable[..., None]] = {TAKE_UP: take_up, ARCHIVE: archive, DROP: drop}
        chores[what](run, *words)
        answered = Answered()
    except FlottaError as error:
        answered = Answered(error.code.value, error.sentence[:FLAME_REASON_CHARS_MAX], error.next_step)
    answer.write(msgspec.json.encode(answered))
    answer.close()


def take_up(folder: RunFolder, parameters: str) -> None:
    """As `flame resume` does. The caller holds the lock of the run and gives it to this process too."""
    from actors.adapters.flame_files import resume_document
    from flame.authoring.workflow import load_graph
    from flame.run.runs import load, workflow_of

    try:
        run = load(folder)
    except FileNotFoundError as error:
        raise WorkflowError(Code.RUN_UNKNOWN, f"{folder.path} is no run any more") from error
    graph = load_graph(workflow_of(run), Path(parameters) if parameters else None)
    resume_document(folder, graph, anyway=False, workdir=run.document.workdir)


def archive(folder: RunFolder) -> None:
    """Of what is on the disk."""
    from flame.archive import write_archive
    from flame.run.runs import load

    run = load(folder)
    write_archive(folder, run.document, run.result)


def drop(folder: RunFolder) -> None:
    """What follows the end of every run: finite values of earlier ones go, whose time is over."""
    from flame.run.dropping import drop_finite_values
    from flame.run.runs import load

    drop_finite_values(folder, load(folder).graph)


def drop_apart(folder: RunFolder) -> None:
    """`drop` in a process of its own, which an old journal that is damaged may end. It is waited for, and killed after
    FLAME_DROP_MS: what stays goes another time.
    """
    words = (sys.executable, "-P", "-m", "actors.flame_chore", DROP, str(folder.path))
    nowhere = subprocess.DEVNULL
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            words,
            env=environment({}),
            stdin=nowhere,
            stdout=nowhere,
            start_new_session=True,
            check=False,
            timeout=FLAME_DROP_MS / 1000,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
