"""Small files that only their owner may read: keys and tokens."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from actors.failpoints import Point, reached
from protocol.errors import Code, ConfigError
from protocol.limits import PRIVATE_FILE_BYTES_MAX

_OTHERS = 0o077
_TEMPORARY_SUFFIX = ".new"
_OTHERS_WRITE = 0o022


def create_private_file(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600; whole on disk, name included, when this returns.

    Missing folders are made with 0700. Never replaces a file: raises FileExistsError when `path` exists,
    whatever it is. Raises ConfigError(KEY_FILE_UNSAFE) when others may write in the folder,
    ConfigError(FOLDER_UNUSABLE) when the file cannot be written. Any thread.
    """
    _write(path, data, lambda temporary: os.link(temporary, path, follow_symlinks=False))


def replace_private_file(path: Path, data: bytes) -> None:
    """As `create_private_file`, but in the place of what is there; readers see the one or the other."""
    _write(path, data, lambda temporary: Path(temporary).replace(path))


def _write(path: Path, data: bytes, name: Callable[[str], object]) -> None:
    """`name` gives the finished file at this path its name."""
    folder = path.parent
    try:
        make_private_folder(folder)
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise _unsafe(folder, "folder", f"it belongs to user {status.st_uid}", "choose a folder of this user")
        if status.st_mode & _OTHERS_WRITE:
            raise _unsafe(folder, "folder", "other users may change it", f"chmod 700 {folder}")
        # mkstemp opens with O_EXCL, O_NOFOLLOW and 0600; a link fails if the name is taken.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX, dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # tells `remove_unfinished` that somebody is at work
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                reached(Point.FILE_UNNAMED)
                name(temporary)
                reached(Point.FILE_NAMED)
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync_folder(folder)
    except FileExistsError:
        raise
    except OSError as error:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the file {path} cannot be written: {error.strerror}",
            next_step=f"give this user a folder to write in, on a disk with room, not {folder}",
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Remove from `folder`, which need not exist, what killed writers of private files have left: each may hold a
    secret. What a writer still works at stays. Raises OSError. Any thread.
    """
    for path in folder.glob(f".*{_TEMPORARY_SUFFIX}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Make `folder` and its missing parents with mode 0700; what exists stays as it is. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_folder(one.parent)


def read_private_file(path: Path) -> bytes:
    """The bytes of a file of this user that nobody else may read, at most PRIVATE_FILE_BYTES_MAX. Any thread.

    Raises FileNotFoundError, ConfigError(KEY_FILE_UNSAFE) for a link, another kind of file, another owner
    or a mode that lets others in, and ConfigError(KEY_FILE_MALFORMED) for a file that is too large.
    """
    try:
        # O_NONBLOCK: a pipe in the place of the file must not make us wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:  # what O_NOFOLLOW answers
            raise _unsafe(path, "file", "it is a symbolic link", f"put the file itself at {path}") from error
        raise _unsafe(path, "file", f"it cannot be opened ({error.strerror})", f"make {path} readable") from error
    try:
        _check(path, os.fstat(descriptor))
        data = os.read(descriptor, PRIVATE_FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > PRIVATE_FILE_BYTES_MAX:
        raise ConfigError(
            Code.KEY_FILE_MALFORMED,
            f"the file {path} has more than {PRIVATE_FILE_BYTES_MAX} bytes",
            next_step="restore it from a backup, or move it away to have a new one made",
        )
    return data


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unsafe(path, "file", "it is not a regular file", f"move {path} away")
    if status.st_uid != os.geteuid():
        owner = f"it belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this"
        raise _unsafe(path, "file", owner, f"run as its owner, or chown {os.geteuid()} {path}")
    if status.st_mode & _OTHERS:
        mode = f"its mode {stat.S_IMODE(status.st_mode):04o} lets other users in, expected 0600"
        raise _unsafe(path, "file", mode, f"chmod 600 {path}, and replace what it holds if others may have read it")


def sync_folder(folder: Path) -> None:
    """Bring the names of the files in `folder` to the disk. Raises OSError. Any thread."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unsafe(path: Path, kind: str, reason: str, next_step: str) -> ConfigError:
    return ConfigError(
        Code.KEY_FILE_UNSAFE, f"the {kind} {path} is not safe for a secret: {reason}", next_step=next_step
    )
