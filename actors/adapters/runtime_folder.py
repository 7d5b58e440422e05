"""The runtime folder: short-lived sockets of this user, closed to all others but root; and its like in memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from protocol.errors import Code, ConfigError

SOCKET_PATH_BYTES_MAX: Final = 107  # of sockaddr_un, without its final zero
_SOCKETS: Final = "sockets-"  # folders of processes that live, or died without a farewell
_ARRAYS: Final = "arrays-"
_WRITES: Final = "writes-"
_UNLOCKED: Final = "new-"
_MEMORY: Final = Path("/dev/shm")  # Linux's file system in memory
_HOME_BYTES_MAX: Final = SOCKET_PATH_BYTES_MAX - 30  # what `SocketFolder` and the names of its sockets add, and more


def runtime_folder() -> Path:
    """Where it is in this environment; it need not exist."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"flotta-p2p-{os.getuid()}"


def prepare_runtime_folder(path: Path, mode: int = 0o700) -> None:
    """Makes it, or checks that it is this user's and open to others no further than `mode`.

    Raises ConfigError(FOLDER_UNUSABLE), and OSError.
    """
    variable = "XDG_RUNTIME_DIR" if mode == 0o700 else "TMPDIR"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode) or facts.st_mode & 0o077 & ~mode:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the runtime folder {path} belongs to another user or is open to others",
            next_step=f"remove it, close it with `chmod {mode:o} {path}`, or set {variable}",
        )
    if mode != 0o700:
        path.chmod(mode)


class _OwnFolder:
    """A folder of its own for this process, mode 0700 or `mode`, removed by `close`.

    While the process lives it holds a lock on its folder. Folders without one are left over, and removed.
    """

    def __init__(self, home: Path, prefix: str, mode: int = 0o700) -> None:
        """Below `home`, which is made where it is missing. Raises ConfigError(FOLDER_UNUSABLE), and OSError."""
        prepare_runtime_folder(home, mode)
        _remove_left_over(home, prefix)
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=home))
        made.chmod(mode)
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Renamed once it is locked, so that nobody takes it for left over.
        self.path = made.rename(home / f"{prefix}{made.name.removeprefix(_UNLOCKED)}")

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


class SocketFolder(_OwnFolder):
    """For the sockets of this process."""

    def __init__(self) -> None:
        """Raises ConfigError(FOLDER_UNUSABLE)."""
        home = runtime_folder()
        if len(os.fsencode(home)) > _HOME_BYTES_MAX:
            raise ConfigError(
                Code.FOLDER_UNUSABLE,
                f"the path of the runtime folder {home} is too long for sockets",
                next_step="set XDG_RUNTIME_DIR to a folder of this user with a short path",
            )
        try:
            super().__init__(home, _SOCKETS)
        except OSError as error:
            raise ConfigError(
                Code.FOLDER_UNUSABLE,
                f"no folder for sockets can be made in {home}: {error.strerror or error}",
                next_step="set XDG_RUNTIME_DIR to a folder of this user",
            ) from error


class PassableFolder(_OwnFolder):
    """For a socket that other users of this machine may reach by its name; they see no names in it, and change nothing.

    It lies in the common folder for temporary files: nobody else may enter XDG_RUNTIME_DIR.
    """

    def __init__(self) -> None:
        """Raises ConfigError(FOLDER_UNUSABLE)."""
        home = Path(tempfile.gettempdir()) / f"flotta-p2p-{_WRITES}{os.getuid()}"
        try:
            super().__init__(home, _WRITES, 0o711)
        except OSError as error:
            raise ConfigError(
                Code.FOLDER_UNUSABLE,
                f"no folder for a socket can be made in {home}: {error.strerror or error}",
                next_step="set TMPDIR to a folder with a short path where other users may pass",
            ) from error


class MemoryFolder(_OwnFolder):
    """For files of this process that are memory and never reach a disk."""


def memory_folder(room_bytes: int, base: Path = _MEMORY) -> MemoryFolder | None:
    """None where the system has no such place with so much room that this user may write and others may not."""
    try:
        facts = os.statvfs(base)
        if facts.f_bavail * facts.f_frsize < room_bytes:
            return None
        return MemoryFolder(base / f"flotta-p2p-{os.getuid()}", _ARRAYS)
    except (OSError, ConfigError):
        return None


def _remove_left_over(home: Path, prefix: str) -> None:
    for folder in home.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # it is in use, or another process removes it
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
