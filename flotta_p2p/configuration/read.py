"""The one way to a node's configuration."""

from __future__ import annotations

import difflib
import platform
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from msgspec.structs import replace

from actors.adapters.token_files import list_projects
from flotta_p2p.configuration.convert import convert
from flotta_p2p.configuration.faults import Faults
from flotta_p2p.configuration.load import Keys, load
from flotta_p2p.configuration.schema import Configuration, Document
from flotta_p2p.configuration.variables import expand
from protocol.errors import Code, ConfigError
from protocol.limits import CONFIG_BYTES_MAX, NAME_CHARS_MAX
from protocol.names import is_name
from protocol.secret_text import SecretText
from protocol.tokens import check_token


@dataclass(frozen=True)
class Home:
    """Where a node works, and what its file says of projects. `source_tokens`: tokens, or names, as they stand under
    data sources.
    """

    workdir: Path
    projects: Mapping[str, SecretText]
    source_tokens: tuple[SecretText, ...]


def read_configuration(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """The configuration in the file `path`, or the defaults without a file.

    `environ` gives the values of `${NAME}`. Relative paths are relative to the file. Reads, beside the
    file, the names and tokens of the projects in the work directory. Raises ConfigError with every fault of
    the file, each on its own line.
    """
    faults = Faults(str(path))
    document, lines, base, workdir = _located(path, environ, faults)
    checks = _Checks(document, lines, faults)
    checks.names()
    checks.join()
    checks.database()
    tokens = checks.tokens(workdir)
    faults.raise_if_any()
    return _settled(document, path, base, workdir, tokens)


def read_home(path: Path | None, environ: Mapping[str, str]) -> Home:
    """As `read_configuration`, for whoever only looks for the node or adds to its projects.

    The projects of data sources are not looked up: a project is often named in the file before it is made.
    """
    document, _, _, workdir = _located(path, environ, Faults(str(path)))
    return Home(
        workdir,
        {project.name: project.token for project in document.node.token_projects_initial},
        tuple(token for source in document.datasources for token in source.token),
    )


def _located(
    path: Path | None, environ: Mapping[str, str], faults: Faults
) -> tuple[Document, dict[str, int], Path, Path]:
    """The document, the line of each key, the folder that paths start from, and the work directory."""
    tree = Keys(1) if path is None else load(_read(path), faults)
    expand(tree, environ, faults)
    document, lines = convert(tree, faults)
    base = Path.cwd() if path is None else path.absolute().parent
    workdir = base / (document.workdir or platformdirs.user_data_path("flotta-p2p", appauthor=False))
    return document, lines, base, workdir


def _read(path: Path) -> bytes:
    """At most one byte more than the limit: `load` tells of a file that is too large."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe could make us wait for ever
            raise _unreadable(path, "it is not a regular file")
        with path.open("rb") as file:
            return file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    except ValueError as error:
        raise _unreadable(path, "no path holds a zero character") from error


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        Code.CONFIG_MALFORMED,
        f"the configuration file {path} cannot be read: {reason}",
        next_step="give the path of a YAML file that this user may read",
    )


class _Checks:
    """Rules between keys. Faults go to the file's `faults`, each at the line of its key."""

    def __init__(self, document: Document, lines: Mapping[str, int], faults: Faults) -> None:
        self._document = document
        self._lines = lines
        self._faults = faults

    def _fault(self, key: str, sentence: str, code: Code = Code.CONFIG_VALUE_WRONG) -> None:
        self._faults.add(self._lines[key], f"{key}: {sentence}", code)

    def names(self) -> None:
        projects = self._document.node.token_projects_initial
        self._unique("node.token_projects_initial", "name", [project.name for project in projects])
        self._unique("node.token_projects_initial", "token", [project.token for project in projects])
        self._unique("datasources", "name", [source.name for source in self._document.datasources])

    def _unique(self, around: str, key: str, values: Sequence[object]) -> None:
        for index, value in enumerate(values):
            first = values.index(value)
            if first < index:
                line = self._lines[f"{around}[{first}].{key}"]
                self._fault(f"{around}[{index}].{key}", f"the same {key} stands already on line {line}")

    def join(self) -> None:
        join = self._document.join
        if join.first and join.url is not None:
            self._fault("join.url", "the first node joins nobody; remove the url or set first to false")
        if join.first is False and join.url is None and not self._document.node.discovery:
            self._fault("join.first", "without discovery a node that is not the first needs join.url")

    def database(self) -> None:
        database = self._document.database
        if database.memory is False and database.host is None:
            self._fault("database.memory", "a database outside of memory needs database.host, the path of its file")

    def tokens(self, workdir: Path) -> list[tuple[SecretText, ...]]:
        """For each data source its tokens, names of projects replaced."""
        if not self._document.datasources:
            return []
        known = dict(list_projects(workdir))
        known.update((one.name, one.token) for one in self._document.node.token_projects_initial)
        return [
            tuple(
                self._token(f"datasources[{number}].token[{index}]", entry, known)
                for index, entry in enumerate(source.token)
            )
            for number, source in enumerate(self._document.datasources)
        ]

    def _token(self, key: str, entry: SecretText, known: Mapping[str, SecretText]) -> SecretText:
        text = entry.reveal()
        if text in known:
            return known[text]
        try:
            check_token(text)
        except ConfigError as error:
            near = difflib.get_close_matches(text[:NAME_CHARS_MAX], known, n=1, cutoff=0.6)
            names = f'did you mean "{near[0]}"?' if near else f"its projects are {', '.join(known) or 'none'}."
            sentence = (
                f"this is no project of this node; {names} As a token it is refused: {error.sentence}."
                " Next: make or join the project with `flotta-p2p project new` or `project add`"
            )
            self._fault(key, sentence, error.code)
        return entry


def _settled(
    document: Document, path: Path | None, base: Path, workdir: Path, tokens: list[tuple[SecretText, ...]]
) -> Configuration:
    join, database = document.join, document.database
    sources = tuple(
        replace(source, path=base / source.path, token=tuple(dict.fromkeys(own)))
        for source, own in zip(document.datasources, tokens, strict=True)
    )
    in_memory = database.host is None if database.memory is None else database.memory
    first = join.url is None if join.first is None else join.first
    return Configuration(
        file=path,
        workdir=workdir,
        mode=document.mode,
        node=replace(document.node, name=document.node.name or _host_name()),
        first=first,
        join_url=join.url,
        datasources=sources,
        database=database,
        database_file=None if in_memory or database.host is None else base / database.host,
        settings=document.settings,
        notes=_notes(document),
    )


def _host_name() -> str:
    name = platform.node().partition(".")[0][:NAME_CHARS_MAX]
    return name if is_name(name) else "node"


def _notes(document: Document) -> tuple[str, ...]:
    said = {
        "node.protocol": document.node.protocol if document.node.protocol == "https" else "",
        "node.url": document.node.url.scheme if document.node.url else "",
        "join.url": document.join.url.scheme if document.join.url else "",
    }
    return tuple(
        f'{key}: "{scheme}" only names host and port; the link between nodes is always encrypted by CURVE.'
        for key, scheme in said.items()
        if scheme
    )
