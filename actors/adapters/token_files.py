"""The project tokens of a work directory: `projects/<name>.token`, one line each, closed to others."""

from __future__ import annotations

from pathlib import Path

from actors.adapters.private_files import create_private_file, read_private_file, replace_private_file
from protocol.errors import Code, ConfigError
from protocol.limits import PROJECTS_MAX
from protocol.names import NAME_RULE, is_name
from protocol.secret_text import SecretText
from protocol.tokens import check_token

_SUFFIX = ".token"


def add_project(workdir: Path, name: str, token: SecretText) -> None:
    """Keep the token of a project; on disk when this returns. Any thread. The same pair again is no change.

    Raises ConfigError: CONFIG_VALUE_WRONG for a name that breaks the rule or one project too many,
    PROJECT_NAME_TAKEN when the name has another token or the token another name, what `check_token` raises,
    KEY_FILE_UNSAFE, FOLDER_UNUSABLE.
    """
    _check_name(name)
    check_token(token.reveal())
    known = dict(list_projects(workdir))
    if name in known:
        if known[name] == token:
            return
        raise _taken(f'the project "{name}" is known with another token', "choose another name")
    for other, other_token in known.items():
        if other_token == token:
            raise _taken(f'the project with this token is known as "{other}"', f'use the name "{other}"')
    if len(known) >= PROJECTS_MAX:
        raise ConfigError(
            Code.CONFIG_VALUE_WRONG,
            f"a node takes part in at most {PROJECTS_MAX} projects",
            next_step=f"remove a file of {_folder(workdir)} that is no longer used",
        )
    try:
        create_private_file(_folder(workdir) / f"{name}{_SUFFIX}", f"{token.reveal()}\n".encode())
    except FileExistsError as error:
        raise _taken(f'the project "{name}" was added by another program just now', "try again") from error


def replace_token(workdir: Path, name: str, token: SecretText) -> None:
    """Keep another token of a project of `workdir` in place of its former one; on disk when this returns. Any thread.

    Raises ConfigError: PROJECT_UNKNOWN for a name without a token file, PROJECT_NAME_TAKEN when the token has another
    name, what `check_token` raises, KEY_FILE_UNSAFE, FOLDER_UNUSABLE.
    """
    check_token(token.reveal())
    known = dict(list_projects(workdir))
    if name not in known:
        raise ConfigError(
            Code.PROJECT_UNKNOWN,
            f'{_folder(workdir)} holds no project "{name}"',
            next_step="flotta-p2p project list",
        )
    other = next((one for one, its_token in known.items() if its_token == token and one != name), None)
    if other is not None:
        raise _taken(f'the project with this token is known as "{other}"', f'use the name "{other}"')
    replace_private_file(_folder(workdir) / f"{name}{_SUFFIX}", f"{token.reveal()}\n".encode())


def list_projects(workdir: Path) -> tuple[tuple[str, SecretText], ...]:
    """The names and tokens of the projects of `workdir` in order of name; without a folder none. Any thread.

    Raises ConfigError: KEY_FILE_UNSAFE, KEY_FILE_MALFORMED, or what `check_token` raises, naming the file;
    FOLDER_UNUSABLE.
    """
    try:
        paths = sorted(path for path in _folder(workdir).iterdir() if path.suffix == _SUFFIX)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the folder {_folder(workdir)} cannot be read: {error.strerror}",
            next_step="give this user the right to read it, or choose another workdir",
        ) from error
    if len(paths) > PROJECTS_MAX:
        raise ConfigError(
            Code.CONFIG_VALUE_WRONG,
            f"{_folder(workdir)} holds {len(paths)} projects; a node takes part in at most {PROJECTS_MAX}",
            next_step="remove the files of projects that are no longer used",
        )
    return tuple((path.stem, _read(path)) for path in paths)


def _read(path: Path) -> SecretText:
    _check_name(path.stem)
    try:
        text = read_private_file(path).decode("ascii").removesuffix("\n")
    except FileNotFoundError as error:
        raise _malformed(path, "it was removed just now", Code.KEY_FILE_MALFORMED) from error
    except UnicodeDecodeError as error:
        raise _malformed(path, "it is not ASCII text", Code.KEY_FILE_MALFORMED) from error
    try:
        check_token(text)
    except ConfigError as error:
        raise _malformed(path, error.sentence, error.code) from error
    return SecretText(text)


def _folder(workdir: Path) -> Path:
    return workdir / "projects"


def _check_name(name: str) -> None:
    if not is_name(name):
        raise ConfigError(
            Code.CONFIG_VALUE_WRONG,
            f"{name[:80]!r} is no name of a project; expected {NAME_RULE}",
            next_step="choose another name",
        )


def _malformed(path: Path, reason: str, code: Code) -> ConfigError:
    return ConfigError(
        code,
        f"the token file {path} cannot be used: {reason}",
        next_step="restore it, or remove it and add the project again with `flotta-p2p project add`",
    )


def _taken(sentence: str, next_step: str) -> ConfigError:
    return ConfigError(Code.PROJECT_NAME_TAKEN, sentence, next_step=next_step)
