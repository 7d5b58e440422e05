"""Folders of the runs that a node executes: locked, looked at, taken up again, archived, tidied.

All of that may take long or hang, on a slow disk or in a program of a person. So each opening has a thread of its own,
and what needs h5py or runs a person's files has a process of its own, `actors.flame_chore`, with a limit.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from actors.adapters.flame_files import HeldRun, hold
from actors.adapters.flame_processes import environment
from actors.adapters.folder_lock import FolderLock
from actors.flame_chore import ARCHIVE, DROP, TAKE_UP, Answered
from actors.flame_ending import with_archive
from actors.inbox import Answer
from flame.run.run_folder import RunFolder
from flame.run.run_record import RunDocument, RunResult
from flame.run.runs import Run, load
from protocol.errors import Code, FlottaError, StorageError, UnreachableError, WorkflowError
from protocol.limits import (
    CHILD_END_MS,
    FLAME_ARCHIVE_MS,
    FLAME_CHORE_BYTES_MAX,
    FLAME_DROP_MS,
    FLAME_DROPS_MAX,
    FLAME_TAKE_UP_MS,
    FLAME_TAKE_UPS_MAX,
)
from protocol.machines.contract import OpenRun
from protocol.machines.keeper import RunNotOpened

_log = logging.getLogger(__name__)

_KNOWN: Final = {code.value for code in Code}


class Opening(Answer, frozen=True):
    """How an opening ended. `problem` None: the run is held, and waits to be claimed."""

    run: str
    folder: str
    problem: RunNotOpened | None = None


class _Over(Exception):
    """The run needs nobody any more."""


class RunOpener:
    """`open`, `claim` and `stop` are for one thread. `tell` is called by others, and never after `stop`."""

    def __init__(self, workdir: Path, tell: Callable[[Opening], object]) -> None:
        self._workdir = str(workdir.resolve())
        self._tell = tell
        self._lock = threading.Lock()  # of the four below
        self._stopping = False
        self._opened: dict[str, HeldRun] = {}  # limits.FLAME_KEPT_RUNS_MAX
        self._chores: set[subprocess.Popen[bytes]] = set()  # limits.FLAME_KEPT_RUNS_MAX, limits.FLAME_DROPS_MAX
        self._threads: list[threading.Thread] = []  # limits.FLAME_KEPT_RUNS_MAX, limits.FLAME_DROPS_MAX
        self._take_ups = threading.Semaphore(FLAME_TAKE_UPS_MAX)
        self._drops = threading.Semaphore(FLAME_DROPS_MAX)

    def open(self, order: OpenRun) -> None:
        """`Opening` tells how it went."""
        self._begin(f"opens {order.folder}", lambda: self._open(order))

    def claim(self, run: str) -> HeldRun:
        """One that was told to be open. Its lock is the caller's from now on."""
        with self._lock:
            return self._opened.pop(run)

    def archive(self, python: str, run: RunFolder, document: RunDocument, result: RunResult) -> Path:
        """As `flame.archive.write_archive`, of the result that is on the disk; waits for it. Raises FlottaError too for
        one that takes longer than FLAME_ARCHIVE_MS, and when this object is stopped meanwhile.
        """
        self._do(python, (ARCHIVE, str(run.path)), run.path, FLAME_ARCHIVE_MS)
        return run.archive

    def drop(self, python: str, after: RunFolder) -> None:
        """`after`, a run that has ended: of the runs before it, finite values whose time is over go. Returns at once; a
        fault is logged. Nothing goes while many such chores are under way, or this object stops: the end of the next
        run does it.
        """
        if self._drops.acquire(blocking=False):
            self._begin(f"drops before {after.path}", lambda: self._drop(python, after))

    def stop(self) -> None:
        """Kills what is under way, lets go of what nobody claimed, and waits a moment for its threads."""
        with self._lock:
            self._stopping = True
            for chore in self._chores:
                _kill(chore)
            while self._opened:
                self._opened.popitem()[1].lock.release()
            threads = self._threads
        deadline_s = time.monotonic() + CHILD_END_MS / 1_000
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        with self._lock:
            if not self._stopping:
                thread = threading.Thread(target=work, name=name, daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
                thread.start()

    # --- one opening, in its thread ---------------------------------------------------------------

    def _open(self, order: OpenRun) -> None:
        held: HeldRun | None = None
        problem: RunNotOpened | None = None
        try:
            held = self._held(order)
        except Exception as error:
            problem = _problem(order, error)
        with self._lock:
            if held is not None and self._stopping:
                held.lock.release()
            elif held is not None:
                self._opened[order.run] = held
            if not self._stopping:
                self._tell(Opening(run=order.run, folder=order.folder, problem=problem))

    def _held(self, order: OpenRun) -> HeldRun:
        folder = Path(order.folder)
        run = RunFolder(folder.parent, folder.name)
        lock = hold(run)
        try:
            return HeldRun(run, self._document(run, lock, order), lock)
        except BaseException:
            lock.release()
            raise

    def _document(self, run: RunFolder, lock: FolderLock, order: OpenRun) -> RunDocument:
        found = load(run)
        document = found.document
        if document.id != order.run or document.workdir != self._workdir:
            raise _Over("it is not a run of this node, or no longer")
        if not order.again:
            return document
        self._check_goes_on(found, order)
        words = (TAKE_UP, str(run.path), order.parameters)
        with self._take_ups:
            self._do(order.python, words, run.path, FLAME_TAKE_UP_MS, pass_fds=(lock.fileno(),))
        return load(run).document

    def _check_goes_on(self, run: Run, order: OpenRun) -> None:
        """A run that has its result is over; it gets the archive that a crash kept it from. Raises _Over, and
        StorageError for a result that cannot be read.
        """
        folder, result = run.folder, run.result
        if result is None:
            return
        if not result.archive:
            _, fault = with_archive(folder, run.document, result, functools.partial(self.archive, order.python))
            if fault:
                _log.warning("the archive of %s could not be written: %s", folder.path, fault)
        self.drop(order.python, folder)
        raise _Over(f"it has {result.end}")

    def _drop(self, python: str, after: RunFolder) -> None:
        try:
            self._do(python, (DROP, str(after.path)), after.path, FLAME_DROP_MS)
        except FlottaError as error:
            _log.warning("finite values of the runs before %s stay for now: %s", after.path, error)
        finally:
            self._drops.release()

    # --- processes --------------------------------------------------------------------------------

    def _do(
        self, python: str, words: Sequence[str], folder: Path, limit_ms: int, *, pass_fds: Sequence[int] = ()
    ) -> None:
        """Raises what the process answers, UnreachableError when it does not."""
        try:
            chore = self._start(python, words, folder, pass_fds)
        except OSError as error:
            raise StorageError(Code.FOLDER_UNUSABLE, f"{python} cannot be started: {error.strerror}") from error
        try:
            said, _ = chore.communicate(timeout=limit_ms / 1_000)
        except subprocess.TimeoutExpired:
            sentence = f"{words[0]} of {folder} took longer than {limit_ms / 1_000:g} s"
            raise UnreachableError(Code.TIMED_OUT, sentence) from None
        finally:
            _kill(chore)
            chore.communicate()
            with self._lock:
                self._chores.discard(chore)
        _raise_answer(words[0], said[:FLAME_CHORE_BYTES_MAX], chore.returncode)

    def _start(
        self, python: str, words: Sequence[str], folder: Path, pass_fds: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopping:
                raise UnreachableError(Code.NODE_STOPPING, "the node stops")
            chore = subprocess.Popen(
                (python, "-P", "-m", "actors.flame_chore", *words),  # -P: nothing of ours comes from the folder
                cwd=folder,
                env=environment({}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=pass_fds,
                start_new_session=True,
            )
            self._chores.add(chore)
            return chore


def _raise_answer(what: str, said: bytes, code: int) -> None:
    try:
        answered = msgspec.json.decode(said, type=Answered)
    except msgspec.DecodeError as error:
        sentence = f"{what} ended with {code} and no answer; the node's log has its last words"
        raise UnreachableError(Code.TASK_CRASHED, sentence) from error
    if answered.code:
        named = Code(answered.code) if answered.code in _KNOWN else Code.INTERNAL
        raise WorkflowError(named, answered.sentence, next_step=answered.next_step)


def _kill(chore: subprocess.Popen[bytes]) -> None:
    """The whole group, unless it has ended."""
    if chore.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(chore.pid, signal.SIGKILL)


def _problem(order: OpenRun, error: Exception) -> RunNotOpened:
    code, sentence, next_step = Code.INTERNAL, f"{type(error).__name__}: {error}", ""
    match error:
        case _Over():
            code, sentence = Code.RUN_UNKNOWN, str(error)
        case FlottaError():
            code, sentence, next_step = error.code, error.sentence, error.next_step
        case OSError():
            code, sentence = Code.FOLDER_UNUSABLE, f"{order.folder} cannot be read: {error.strerror or error}"
        case _:
            _log.error("while %s was opened: %r", order.folder, error)
    over = isinstance(error, _Over)
    return RunNotOpened(run=order.run, code=code, sentence=sentence, next_step=next_step, over=over)
