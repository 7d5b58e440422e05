"""Folders of the runs that a node executes: locked, looked at, taken up again.

All of that may take long or hang, on a slow disk or in a program of a person. So each opening has a thread of its own.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from actors.adapters.flame_chores import Chores
from actors.adapters.flame_files import HeldRun, hold
from actors.adapters.folder_lock import FolderLock
from actors.flame_ending import with_archive
from actors.inbox import Answer
from flame.run.run_folder import RunFolder
from flame.run.run_record import RunDocument
from flame.run.runs import Run, load
from protocol.errors import Code, FlottaError
from protocol.limits import CHILD_END_MS
from protocol.machines.contract import OpenRun
from protocol.machines.keeper import RunNotOpened

_log = logging.getLogger(__name__)


class Opening(Answer, frozen=True):
    """How an opening ended. `problem` None: the run is held, and waits to be claimed."""

    run: str
    folder: str
    problem: RunNotOpened | None = None


class _Over(Exception):
    """The run needs nobody any more."""


class RunOpener:
    """`open`, `claim` and `stop` are for one thread. `tell` is called by others, and never after `stop`."""

    def __init__(self, workdir: Path, chores: Chores, tell: Callable[[Opening], object]) -> None:
        self._workdir = str(workdir.resolve())
        self._chores = chores
        self._tell = tell
        self._lock = threading.Lock()  # of the two below
        self._stopping = False
        self._opened: dict[str, HeldRun] = {}  # limits.FLAME_KEPT_RUNS_MAX
        self._threads: list[threading.Thread] = []  # limits.FLAME_KEPT_RUNS_MAX

    def open(self, order: OpenRun) -> None:
        """`Opening` tells how it went."""
        thread = threading.Thread(target=self._open, args=(order,), name=f"opens {order.folder}", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def claim(self, run: str) -> HeldRun:
        """One that was told to be open. Its lock is the caller's from now on."""
        with self._lock:
            return self._opened.pop(run)

    def stop(self) -> None:
        """Stops the chores too, lets go of what nobody claimed, and waits a moment for its threads."""
        with self._lock:
            self._stopping = True
            while self._opened:
                self._opened.popitem()[1].lock.release()
        self._chores.stop()
        deadline_s = time.monotonic() + CHILD_END_MS / 1_000
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

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
        self._chores.take_up(order.python, run, order.parameters, lock)
        return load(run).document

    def _check_goes_on(self, run: Run, order: OpenRun) -> None:
        """A run that has its result is over; it gets the archive that a crash kept it from. Raises _Over, and
        StorageError for a result that cannot be read.
        """
        folder, result = run.folder, run.result
        if result is None:
            return
        if not result.archive:
            _, fault = with_archive(folder, run.document, result, functools.partial(self._chores.archive, order.python))
            if fault:
                _log.warning("the archive of %s could not be written: %s", folder.path, fault)
        self._chores.drop(order.python, folder)
        raise _Over(f"it has {result.end}")


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
