"""A work directory belongs to one node at a time, is closed to other users, and has room to work in."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from actors.adapters.private_files import make_private_folder, remove_unfinished
from flame.locks import is_file_locked, is_locked
from protocol.errors import Code, ConfigError, StorageError
from protocol.limits import DISK_FREE_BYTES_MIN, MIB

_NOTE_BYTES_MAX: Final = 256  # of the lock file: a process id and a node id


class FolderLock:
    """Holds the lock of a work directory until `release` or any end of this process. One thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.name_node("")

    def fileno(self) -> int:
        """Of the locked file, for a process that is to hold the lock as well."""
        return self._descriptor

    def name_node(self, node_id: str) -> None:
        """Note the text of the node's id in the lock file, for the message that another node gives."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()} {node_id}\n".encode(), 0)

    def release(self) -> None:
        """Let the next node in. Calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_folder(path: Path) -> FolderLock:
    """Lock the work directory `path` for this process, through the file `lock` in it, which stays for good.

    Raises ConfigError(FOLDER_LOCKED) at once when another holds it, naming its process;
    ConfigError(FOLDER_UNUSABLE) when the file system cannot lock.
    """
    file = path / "lock"
    try:
        # Not inherited by children: a child that outlives the node must not keep the folder locked.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, f"its lock file cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return FolderLock(descriptor)
    except OSError as error:
        holder = os.pread(descriptor, _NOTE_BYTES_MAX, 0).decode("ascii", "replace")
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise _locked(path, holder) from error
        raise _unusable(path, f"it cannot be locked ({error.strerror})") from error


@dataclass(frozen=True)
class LockHolder:
    """Who holds a work directory: 0 and "" where the lock file does not say."""

    pid: int
    node: str


def lock_holder(path: Path) -> LockHolder | None:
    """Who holds the lock of the work directory `path`; None: nobody. Takes no lock, which would keep others out."""
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not is_locked(descriptor):
            return None
        process, _, node = os.pread(descriptor, _NOTE_BYTES_MAX, 0).decode("ascii", "replace").strip().partition(" ")
        return LockHolder(pid=int(process) if process.isdigit() else 0, node=node)
    finally:
        os.close(descriptor)


def signal_holder(path: Path, number: int) -> None:
    """Send a signal to the process that holds the lock of the folder `path`; it holds it, so the process that is named
    there lives. Does nothing where nobody holds it any more. Raises PermissionError where it does not let us.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        holder = lock_holder(path)
        if holder is None and not is_file_locked(path / "lock"):
            return
        if holder is None or not holder.pid:
            raise PermissionError("who holds it does not let us know")
        _check_owner(holder.pid, (path / "lock").stat().st_uid)
        os.kill(holder.pid, number)


def _check_owner(pid: int, owner: int) -> None:
    """Who wrote the lock file may have named any process. Raises PermissionError unless it is one of his own, and
    ProcessLookupError.
    """
    try:
        runs_as = Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        if Path("/proc/self").exists():
            raise ProcessLookupError from None
        runs_as = os.getuid()  # a system that does not tell
    if runs_as != owner:
        raise PermissionError("the process is not of the user whose lock it is")


_PRIVATE_FOLDERS: Final = ("projects", "joins", ".")


def prepare_workdir(path: Path) -> None:
    """Make `path` a folder that only this user may enter and can write in.

    A missing or empty folder gets mode 0700. One with contents that other users may enter is refused, not
    changed: it may be the home of other things. What killed writers of tokens have left is removed. Raises
    ConfigError(FOLDER_UNUSABLE).
    """
    try:
        make_private_folder(path)
        status = path.stat()
        if _is_open(status) and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not _holds(path):
            path.chmod(0o700)
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    check_workdir(path)
    try:
        for folder in _PRIVATE_FOLDERS:
            remove_unfinished(path / folder)
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error


def check_workdir(path: Path) -> None:
    """Raise ConfigError(FOLDER_UNUSABLE) unless `path` is as `prepare_workdir` leaves it. Changes nothing."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise _unusable(path, "it is not a folder")
        if status.st_uid != os.geteuid():
            raise _unusable(path, f"it belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this")
        if _is_open(status):
            raise ConfigError(
                Code.FOLDER_UNUSABLE,
                f"the work directory {path} cannot be used: "
                f"its mode {stat.S_IMODE(status.st_mode):04o} lets other users in",
                next_step=f"chmod 700 {path}, or choose another workdir",
            )
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            raise _unusable(path, "its disk can only be read")
        effective = os.access in os.supports_effective_ids  # the ids that opening a file goes by
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=effective):
            raise _unusable(path, "this user may not write in it")
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error


def _is_open(status: os.stat_result) -> bool:
    return bool(status.st_mode & 0o077)


def _holds(path: Path) -> bool:
    return any(path.iterdir())


def check_disk_space(path: Path) -> None:
    """Raise StorageError(DISK_FULL) when less than DISK_FREE_BYTES_MIN is free on the disk of `path`."""
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    if free < DISK_FREE_BYTES_MIN:
        raise StorageError(
            Code.DISK_FULL,
            f"the disk of {path} has {free // MIB} MiB free; expected {DISK_FREE_BYTES_MIN // MIB} MiB",
            next_step="make room, or choose a workdir on another disk",
        )


def _locked(path: Path, holder: str) -> ConfigError:
    process, _, node = holder.strip().partition(" ")
    by = f"process {process}" if process.isdigit() else "another process"
    which = f" (node {node})" if node else ""
    return ConfigError(
        Code.FOLDER_LOCKED,
        f"the work directory {path} is in use by {by}{which}",
        next_step="stop that node, or give this one a workdir of its own",
    )


def _unusable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        Code.FOLDER_UNUSABLE,
        f"the work directory {path} cannot be used: {reason}",
        next_step="choose a folder of this user as workdir",
    )
