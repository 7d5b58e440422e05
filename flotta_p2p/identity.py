"""What a node is before it runs: its keys, its projects, where it listens."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from actors.adapters.curve_sockets import CurveKeys
from actors.adapters.entropy import SystemEntropy
from actors.adapters.interfaces import choose_interfaces
from actors.adapters.joining_files import has_left, list_joins
from actors.adapters.key_files import (
    load_curve_secret,
    load_or_create_curve_secret,
    load_or_create_signing_key,
    load_signing_key,
)
from actors.adapters.private_files import remove_unfinished
from actors.adapters.sealing import SealKeys, derive_seal_keys
from actors.adapters.token_files import list_projects
from actors.projects import Held
from flotta_p2p.configuration.schema import Configuration
from protocol.errors import Code, ConfigError
from protocol.ids import node_id
from protocol.limits import ADDRESSES_PER_NODE_MAX, OFFERS_MAX, PROJECTS_MAX
from protocol.plan.tasks import DisclosureRules, SourceFile
from protocol.policy import NodePolicy, SourcePolicy
from protocol.secret_text import SecretText
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey, check_token


@dataclass(frozen=True)
class Identity:
    key: SigningKey
    curve: CurveKeys
    seal: SealKeys
    node: bytes


def load_identity(keys: Path) -> Identity:
    """The keys of the node in the folder `keys`, made at the first start. What killed writers have left there is
    removed. Raises ConfigError when a key file is open to others or broken, or the folder cannot be used.
    """
    entropy = SystemEntropy()
    try:
        remove_unfinished(keys)
    except OSError as error:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the folder {keys} of the node's keys cannot be used: {error.strerror}",
            next_step="give this user the right to read and write in it, or choose another folder in settings.keys",
        ) from error
    key = SigningKey(load_or_create_signing_key(keys / "node.key", entropy))
    return _identity(key, load_or_create_curve_secret(keys / "transport.key", entropy))


def read_identity(keys: Path) -> Identity:
    """As `load_identity`, but changes nothing: a missing key is a ConfigError(KEY_FILE_MALFORMED)."""
    return _identity(SigningKey(load_signing_key(keys / "node.key")), load_curve_secret(keys / "transport.key"))


def _identity(key: SigningKey, secret: bytes) -> Identity:
    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return Identity(
        key=key,
        curve=CurveKeys(secret=secret, public=public),
        seal=derive_seal_keys(secret),
        node=node_id(key.public_key),
    )


class Projects:
    """The projects of a node: those of its configuration, of its work directory, and of its sources' tokens.

    Deriving a key takes about 60 ms, so that each token is derived once. Any thread may call.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._lock = threading.Lock()
        self._derived: dict[str, ProjectKey] = {}  # as many as the operator adds while the node runs
        self._read: dict[str, SecretText] = {}  # of the token files, as they were read last
        self._newer: dict[str, SecretText] = {}  # a token that was replaced while the node runs → its successor
        self.names: dict[bytes, str] = {}

    def held(self) -> Held:
        """All that the work directory and the configuration say now. Raises ConfigError as `read` does."""
        projects, workdir = self.read(), self._configuration.workdir
        left, alone = has_left(workdir), self._configuration.mode == "standalone"
        return Held(
            projects=() if left else projects,
            sources=self.sources(),
            joins=() if alone else list_joins(workdir),  # with some it does not start; these came since
            left=left,
        )

    def read(self) -> tuple[ProjectKey, ...]:
        """Every project held now; reads the work directory's token files anew.

        A project that only a data source knows is named after the first such source, unless another project has that
        name: then it has none. Raises ConfigError for a weak token, and for more than PROJECTS_MAX projects in all.
        """
        in_files = list_projects(self._configuration.workdir)
        self._note_replaced(in_files)
        named: list[tuple[str, SecretText]] = [
            *((project.name, project.token) for project in self._configuration.node.token_projects_initial),
            *in_files,
        ]
        keys: dict[bytes, ProjectKey] = {}
        names: dict[bytes, str] = {}
        for name, token in named:
            key = self._derive(token, f"the token of the project {name}")
            keys[key.project_id] = key
            names.setdefault(key.project_id, name)
        for source in self._configuration.datasources:
            for token in source.token:
                key = self._derive(self._current(token), f"a token of the data source {source.name}")
                keys.setdefault(key.project_id, key)
                names.setdefault(key.project_id, "" if source.name in names.values() else source.name)
        self.names.update(names)
        if len(keys) > PROJECTS_MAX:
            raise ConfigError(
                Code.CONFIG_VALUE_WRONG,
                f"the configuration and the work directory name {len(keys)} projects; at most {PROJECTS_MAX} are held",
                next_step="take the tokens of some projects away",
            )
        for gone in self.names.keys() - keys.keys():
            del self.names[gone]
        return tuple(keys.values())

    def policy(self) -> NodePolicy:
        """The holder's rules, source by source. Raises ConfigError when they are more than a greeting can tell."""
        offers = sum(len(source.token) for source in self._configuration.datasources)
        if offers > OFFERS_MAX:
            raise ConfigError(
                Code.CONFIG_VALUE_WRONG,
                f"the data sources list {offers} tokens together, at most {OFFERS_MAX} are possible",
                next_step="let fewer projects reach each source, or run a second node",
            )
        return NodePolicy(
            sources={
                source.name: SourcePolicy(
                    projects=frozenset(
                        self._derive(self._current(token), f"a token of the data source {source.name}").project_id
                        for token in source.token
                    ),
                    submitters=source.policy.submitters,
                    columns=source.policy.column_rules,
                )
                for source in self._configuration.datasources
            }
        )

    def sources(self) -> dict[str, frozenset[bytes]]:
        """The data sources, each with the projects that may reach it now. Raises ConfigError as `policy` does."""
        return {name: source.projects for name, source in self.policy().sources.items()}

    def _note_replaced(self, in_files: Iterable[tuple[str, SecretText]]) -> None:
        """A data source that names a project goes with its new token; the file was read with the former one."""
        with self._lock:
            for name, token in in_files:
                before = self._read.get(name, token)
                if before != token:
                    self._newer.pop(token.reveal(), None)
                    self._newer[before.reveal()] = token
                self._read[name] = token

    def _current(self, token: SecretText) -> SecretText:
        while token.reveal() in self._newer:
            token = self._newer[token.reveal()]
        return token

    def _derive(self, token: SecretText, what: str) -> ProjectKey:
        text = token.reveal()
        with self._lock:
            if text not in self._derived:
                try:
                    check_token(text, standalone=self._configuration.mode == "standalone")
                except ConfigError as error:
                    raise ConfigError(
                        error.code, f"{what} cannot be used: {error.sentence}", next_step=error.next_step
                    ) from error
                self._derived[text] = ProjectKey.derive(text)
            return self._derived[text]


def source_files(configuration: Configuration) -> dict[str, SourceFile]:
    return {
        source.name: SourceFile(
            name=source.name,
            path=str(source.path),
            type=source.type,
            rules=DisclosureRules(
                minimum_cohort=source.policy.minimum_cohort,
                minimum_cell=source.policy.minimum_cell,
                columns=source.policy.column_rules,
            ),
        )
        for source in configuration.datasources
    }


@dataclass(frozen=True)
class Listening:
    """`hosts` to bind, and `addresses` for the key statement: what other machines can dial. A client has neither."""

    hosts: tuple[str, ...]
    port: int
    addresses: tuple[str, ...]


def choose_listening(configuration: Configuration) -> Listening:
    """Raises ConfigError when the wanted interface is not this machine's."""
    node = configuration.node
    if configuration.mode == "client":
        return Listening(hosts=(), port=node.port, addresses=())
    hosts = choose_interfaces(node.interface)
    reachable = [host for host in hosts if not host.startswith("127.")] or list(hosts)
    addresses = [f"{host}:{node.port}" for host in reachable]
    if node.url is not None:
        addresses.insert(0, str(node.url))
    return Listening(hosts=hosts, port=node.port, addresses=tuple(dict.fromkeys(addresses))[:ADDRESSES_PER_NODE_MAX])
