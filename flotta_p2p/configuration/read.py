"""The one way to a node's configuration."""

from __future__ import annotations

import platform
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from actors.adapters.joining_files import list_joins
from actors.adapters.token_files import list_projects
from flotta_p2p.configuration.checks import Checks
from flotta_p2p.configuration.convert import convert
from flotta_p2p.configuration.keys import keys_of
from flotta_p2p.configuration.schema import Configuration, Document, Mode, Node, Policy, key_folder
from flotta_p2p.configuration.variables import expand
from flotta_p2p.faults import Faults
from flotta_p2p.safe_yaml import Keys, kind_of, load
from flotta_p2p.user_folders import default_workdir
from protocol.errors import Code, ConfigError
from protocol.limits import CONFIG_BYTES_MAX, NAME_CHARS_MAX
from protocol.names import is_name
from protocol.proxies.proxy import Proxy
from protocol.secret_text import SecretText

LOOPBACK: Final = "127.0.0.1"
_STANDALONE: Final = (
    "A standalone node is for learning and tests, not for real data: it answers on this machine alone, announces "
    "nothing, joins nobody, and takes tokens that could be guessed."
)


@dataclass(frozen=True)
class Home:
    """Where a node works and how, the folder of its key files, what its file says of projects, and its way out.
    `source_tokens`: tokens, or names, as they stand under data sources.
    """

    workdir: Path
    mode: Mode
    keys: Path
    projects: Mapping[str, SecretText]
    source_tokens: tuple[SecretText, ...]
    proxy: Proxy | None


@dataclass(frozen=True)
class _Located:
    """A document, the line of each key that it gives, the folder that paths start from, and the work directory."""

    document: Document
    lines: Mapping[str, int]
    base: Path
    workdir: Path


def read_configuration(path: Path | None, environ: Mapping[str, str], *, standalone: bool = False) -> Configuration:
    """The configuration in the file `path`, or the defaults without a file.

    `environ` gives the values of `${NAME}`; with `standalone` that is the mode, whatever the file says. Relative paths
    are relative to the file. Reads, beside the file, the projects and join addresses of the work directory. Raises
    ConfigError with every fault of the file, each on its own line.
    """
    faults = _faults_of(path)
    located = _located(path, environ, faults, standalone)
    checks = Checks(located.document, located.lines, faults)
    checks.all(joins_kept=_has_kept_joins(located, faults))
    checks.policies(_policies(located))
    sources = located.document.datasources
    tokens = checks.sources(_projects(located, faults)) if sources else []
    faults.raise_if_any()
    return _settled(located, path, tokens)


def read_home(path: Path | None, environ: Mapping[str, str]) -> Home:
    """As `read_configuration`, for whoever only looks for the node or adds to its projects.

    The projects of data sources are not looked up: a project is often named in the file before it is made. Nor do rules
    between keys matter here.
    """
    faults = _faults_of(path)
    located = _located(path, environ, faults)
    document = located.document
    Checks(document, located.lines, faults).projects()
    faults.raise_if_any()
    keys = document.settings.keys
    return Home(
        workdir=located.workdir,
        mode=document.mode,
        keys=key_folder(located.workdir, None if keys is None else located.base / keys),
        projects=_initial_projects(document),
        source_tokens=tuple(token for source in document.datasources for token in source.token),
        proxy=document.settings.proxy,
    )


def _faults_of(path: Path | None) -> Faults:
    return Faults(str(path), next_step=f"mend the file, then `flotta-p2p config check {path}`")


def _located(path: Path | None, environ: Mapping[str, str], faults: Faults, standalone: bool = False) -> _Located:
    tree = Keys(1) if path is None else _tree(path, faults)
    expand(tree, environ, faults)
    document, lines = convert(tree, faults)
    if standalone:
        document = replace(document, mode="standalone")
    base = Path.cwd() if path is None else path.absolute().parent
    workdir = base / (document.workdir or default_workdir(standalone=document.mode == "standalone"))
    return _Located(document, lines, base, workdir)


def _initial_projects(document: Document) -> dict[str, SecretText]:
    return {project.name: project.token for project in document.node.token_projects_initial}


def _projects(located: _Located, faults: Faults) -> dict[str, SecretText]:
    """Those of the work directory and of the file, which come first. Raises ConfigError, for the file before all."""
    try:
        kept = list_projects(located.workdir)
    except ConfigError:
        faults.raise_if_any()
        raise
    return dict(kept) | _initial_projects(located.document)


def _has_kept_joins(located: _Located, faults: Faults) -> bool:
    """Whether a work directory for which it matters says where to join. Raises ConfigError, for the file before all."""
    try:
        return located.document.mode != "node" and bool(list_joins(located.workdir))
    except ConfigError:
        faults.raise_if_any()
        raise


def _tree(path: Path, faults: Faults) -> Keys:
    tree = load(_read(path), faults)
    if not isinstance(tree, Keys):
        faults.stop(tree.line, f'expected keys such as "node:" at the top level, saw {kind_of(tree)}')
    return tree


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


def _settled(located: _Located, path: Path | None, tokens: list[tuple[SecretText, ...]]) -> Configuration:
    document, base = located.document, located.base
    join, database, settings = document.join, document.database, document.settings
    sources = tuple(
        replace(source, path=base / source.path, token=own, policy=policy)
        for source, own, policy in zip(document.datasources, tokens, _policies(located), strict=True)
    )
    in_memory = database.host is None if database.memory is None else database.memory
    first = join.url is None and document.mode != "client" if join.first is None else join.first
    discovery = document.mode == "node" if settings.discovery is None else settings.discovery
    return Configuration(
        file=path,
        workdir=located.workdir,
        mode=document.mode,
        node=_settled_node(document),
        first=first,
        join_url=join.url,
        datasources=sources,
        database=database,
        database_file=None if in_memory or database.host is None else base / database.host,
        discovery=discovery,
        settings=replace(settings, keys=None if settings.keys is None else base / settings.keys),
        notes=_notes(document),
        given=frozenset(located.lines),
    )


def _settled_node(document: Document) -> Node:
    node = replace(document.node, name=document.node.name or _host_name())
    return replace(node, interface=node.interface or LOOPBACK) if document.mode == "standalone" else node


def _policies(located: _Located) -> Iterator[Policy]:
    """Of each source its own keys over those of `settings.policy`."""
    for index, source in enumerate(located.document.datasources):
        own = [name for name in keys_of(Policy) if f"datasources[{index}].policy.{name}" in located.lines]
        yield replace(located.document.settings.policy, **{name: getattr(source.policy, name) for name in own})


def _host_name() -> str:
    name = platform.node().partition(".")[0][:NAME_CHARS_MAX]
    return name if is_name(name) else "node"


def _notes(document: Document) -> tuple[str, ...]:
    said = {
        "node.protocol": document.node.protocol if document.node.protocol == "https" else "",
        "node.url": document.node.url.scheme if document.node.url else "",
        "join.url": document.join.url.scheme if document.join.url else "",
    }
    schemes = [
        f'{key}: "{scheme}" only names host and port; the link between nodes is always encrypted by CURVE.'
        for key, scheme in said.items()
        if scheme
    ]
    return (*([_STANDALONE] if document.mode == "standalone" else []), *schemes)
