"""What a work directory says of joining: `joins/*.join`, one file for each address, and `left`, while the node is out.

A join file holds the address and, below it, the key statement of the node there, if that came with an invitation.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from actors.adapters.private_files import read_private_file, replace_private_file, sync_folder
from actors.adapters.statements import from_text, to_text
from protocol.errors import AddressError, Code, ConfigError, RemoteProtocolError
from protocol.key_statement import parse_address
from protocol.limits import KEPT_JOINS_MAX
from protocol.machines.events import KeptJoin

_SUFFIX: Final = ".join"


def keep_join(workdir: Path, join: KeptJoin) -> None:
    """Keeps an address to join at; on disk when this returns. The same address again replaces what was said of it.

    Raises ConfigError: CONFIG_VALUE_WRONG for one too many, KEY_FILE_UNSAFE, FOLDER_UNUSABLE. Any thread.
    """
    path = _path(workdir, join.address)
    if not path.exists() and len(_paths(workdir)) >= KEPT_JOINS_MAX:
        raise ConfigError(
            Code.CONFIG_VALUE_WRONG,
            f"{path.parent} holds {KEPT_JOINS_MAX} join addresses, and no more are kept",
            next_step="take one away: flotta-p2p join --forget ADDRESS",
        )
    lines = [join.address, *([to_text(join.statement)] if join.statement else [])]
    replace_private_file(path, "".join(f"{line}\n" for line in lines).encode())


def forget_join(workdir: Path, address: str) -> bool:
    """Whether it was kept. Raises ConfigError(FOLDER_UNUSABLE). Any thread."""
    return _removed(_path(workdir, address))


def list_joins(workdir: Path) -> tuple[KeptJoin, ...]:
    """All join addresses of `workdir`; without a folder none. Any thread.

    Raises ConfigError: KEY_FILE_UNSAFE, KEY_FILE_MALFORMED, FOLDER_UNUSABLE.
    """
    return tuple(_read(path) for path in _paths(workdir)[:KEPT_JOINS_MAX])


def has_left(workdir: Path) -> bool:
    return (workdir / "left").exists()


def note_left(workdir: Path, left: bool) -> bool:
    """Notes that the node is out of its projects, or in them again; on disk when this returns. Whether that is new.

    Raises ConfigError: KEY_FILE_UNSAFE, FOLDER_UNUSABLE. Any thread.
    """
    before, path = has_left(workdir), workdir / "left"
    if left and not before:
        replace_private_file(path, b"This node has left its projects. `flotta-p2p rejoin` brings it back.\n")
    elif not left:
        _removed(path)
    return before != left


def _paths(workdir: Path) -> list[Path]:
    folder = workdir / "joins"
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(folder, error) from error


def _read(path: Path) -> KeptJoin:
    try:
        address, *rest = read_private_file(path).decode("ascii").splitlines()
        parse_address(address)
        statement = from_text(rest[0].encode()) if rest else b""
    except (FileNotFoundError, ValueError, AddressError, RemoteProtocolError) as error:
        raise ConfigError(
            Code.KEY_FILE_MALFORMED,
            f"{path} does not hold a join address",
            next_step="remove it, and say again where to join: flotta-p2p join ADDRESS",
        ) from error
    return KeptJoin(address=address, statement=statement)


def _path(workdir: Path, address: str) -> Path:
    """Named after a hash: an address may be longer than a file's name may be."""
    return workdir / "joins" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}{_SUFFIX}"


def _removed(path: Path) -> bool:
    try:
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path.parent, error) from error
    return True


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        Code.FOLDER_UNUSABLE,
        f"the folder {folder} cannot be used: {error.strerror}",
        next_step="give this user the right to read and write in it, or choose another workdir",
    )
