"""Processes that do for a node what needs h5py or runs a person's files: `actors.flame_chore`, each with a limit."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.adapters.flame_processes import environment
from actors.adapters.folder_lock import FolderLock
from actors.flame_chore import ARCHIVE, DROP, TAKE_UP, Answered
from flame.run.run_folder import RunFolder
from flame.run.run_record import RunDocument, RunResult
from protocol.errors import Code, FlottaError, StorageError, UnreachableError, error_of
from protocol.limits import (
    CHILD_END_MS,
    FLAME_ARCHIVE_MS,
    FLAME_CHORE_BYTES_MAX,
    FLAME_DROP_MS,
    FLAME_DROPS_MAX,
    FLAME_TAKE_UP_MS,
    FLAME_TAKE_UPS_MAX,
)

_log = logging.getLogger(__name__)


class Chores:
    """`python` is the interpreter of the run. `take_up` and `archive` wait for the process. They raise what it answers,
    StorageError when it cannot be started, and UnreachableError when it does not answer within its limit, or when this
    object is stopped meanwhile. Any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the three below
        self._stopping = False
        self._running: set[subprocess.Popen[bytes]] = set()  # limits.FLAME_KEPT_RUNS_MAX, limits.FLAME_DROPS_MAX
        self._threads: list[threading.Thread] = []  # limits.FLAME_DROPS_MAX
        self._take_ups = threading.Semaphore(FLAME_TAKE_UPS_MAX)
        self._drops = threading.Semaphore(FLAME_DROPS_MAX)

    def take_up(self, python: str, run: RunFolder, parameters: str, lock: FolderLock) -> None:
        """As `flame resume` does, of a run that the caller holds. For FLAME_TAKE_UP_MS at most, when its turn has come:
        FLAME_TAKE_UPS_MAX work at once.
        """
        words = (TAKE_UP, str(run.path), parameters)
        with self._take_ups:
            self._do(python, words, run.path, FLAME_TAKE_UP_MS, pass_fds=(lock.fileno(),))

    def archive(self, python: str, run: RunFolder, document: RunDocument, result: RunResult) -> Path:
        """As `flame.archive.write_archive`, of the result that is on the disk. For FLAME_ARCHIVE_MS at most."""
        self._do(python, (ARCHIVE, str(run.path)), run.path, FLAME_ARCHIVE_MS)
        return run.archive

    def drop(self, python: str, after: RunFolder) -> None:
        """`after`, a run that has ended: of the runs before it, finite values whose time is over go. Returns at once; a
        fault is logged. Nothing goes while FLAME_DROPS_MAX are under way, or when this object is stopped: the end of
        the next run does it.
        """
        with self._lock:
            if self._stopping or not self._drops.acquire(blocking=False):
                return
            thread = threading.Thread(
                target=self._drop, args=(python, after), name=f"drops before {after.path}", daemon=True
            )
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def stop(self) -> None:
        """Kills those that run, and waits a moment for what it has begun itself. None starts any more."""
        with self._lock:
            self._stopping = True
            for chore in self._running:
                _kill(chore)
        deadline_s = time.monotonic() + CHILD_END_MS / 1_000
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

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
                self._running.discard(chore)
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
            self._running.add(chore)
            return chore


def _raise_answer(what: str, said: bytes, code: int) -> None:
    try:
        answered = msgspec.json.decode(said, type=Answered)
    except msgspec.DecodeError as error:
        sentence = f"{what} ended with {code} and no answer; the node's log has its last words"
        raise UnreachableError(Code.TASK_CRASHED, sentence) from error
    if answered.code:
        raise error_of(answered.code, answered.sentence, answered.next_step, otherwise=Code.INTERNAL)


def _kill(chore: subprocess.Popen[bytes]) -> None:
    """The whole group, unless it has ended."""
    if chore.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(chore.pid, signal.SIGKILL)
