"""What a node is before it runs: its keys, its projects, where it listens."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from actors.adapters.curve_sockets import CurveKeys
from actors.adapters.entropy import SystemEntropy
from actors.adapters.interfaces import choose_interfaces
from actors.adapters.key_files import (
    load_curve_secret,
    load_or_create_curve_secret,
    load_or_create_signing_key,
    load_signing_key,
)
from actors.adapters.sealing import SealKeys, derive_seal_keys
from actors.adapters.token_files import list_projects
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


def load_identity(workdir: Path) -> Identity:
    """The keys of the node, made at the first start. Raises ConfigError when a key file is open to others or broken."""
    entropy = SystemEntropy()
    keys = workdir / "keys"
    key = SigningKey(load_or_create_signing_key(keys / "node.key", entropy))
    return _identity(key, load_or_create_curve_secret(keys / "transport.key", entropy))


def read_identity(workdir: Path) -> Identity:
    """As `load_identity`, but makes nothing: a missing key is a ConfigError(KEY_FILE_MALFORMED)."""
    keys = workdir / "keys"
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
        self.names: dict[bytes, str] = {}

    def read(self) -> tuple[ProjectKey, ...]:
        """Every project held now; reads the work directory's token files anew.

        Raises ConfigError for a weak token, and for more than PROJECTS_MAX projects in all.
        """
        named: list[tuple[str, SecretText]] = [
            *((project.name, project.token) for project in self._configuration.node.token_projects_initial),
            *list_projects(self._configuration.workdir),
        ]
        keys: dict[bytes, ProjectKey] = {}
        for name, token in named:
            key = self._derive(token, f"the token of the project {name}")
            keys[key.project_id] = key
            self.names.setdefault(key.project_id, name)
        for source in self._configuration.datasources:
            for token in source.token:
                key = self._derive(token, f"a token of the data source {source.name}")
                keys.setdefault(key.project_id, key)
        if len(keys) > PROJECTS_MAX:
            raise ConfigError(
                Code.CONFIG_VALUE_WRONG,
                f"the configuration and the work directory name {len(keys)} projects; at most {PROJECTS_MAX} are held",
                next_step="take the tokens of some projects away",
            )
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
                        self._derive(token, f"a token of the data source {source.name}").project_id
                        for token in source.token
                    ),
                    submitters=source.policy.submitters,
                    columns=source.policy.column_rules,
                )
                for source in self._configuration.datasources
            }
        )

    def _derive(self, token: SecretText, what: str) -> ProjectKey:
        text = token.reveal()
        with self._lock:
            if text not in self._derived:
                try:
                    check_token(text)
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
