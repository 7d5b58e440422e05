"""Rules between the keys of one file: what no key alone can know."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from flotta_p2p.configuration.schema import Document, Policy
from flotta_p2p.faults import Faults
from protocol.errors import Code, ConfigError
from protocol.limits import NAME_CHARS_MAX
from protocol.names import is_name
from protocol.secret_text import SecretText
from protocol.tokens import check_token

_A_CLIENT: Final = "a client"
_A_STANDALONE: Final = "a standalone node"


class Checks:
    """Faults go to the file's `faults`, each at the line of its key."""

    def __init__(self, document: Document, lines: Mapping[str, int], faults: Faults) -> None:
        self._document = document
        self._lines = lines
        self._faults = faults

    def all(self, *, joins_kept: bool) -> None:
        """Every rule but those of `sources` and `policies`. `joins_kept`: the work directory says where to join."""
        self._names()
        self._mode(joins_kept)
        self._database()
        self.projects()

    def projects(self) -> None:
        """The tokens of the file's own projects are strong enough."""
        for index, project in enumerate(self._document.node.token_projects_initial):
            try:
                self._check_token(project.token)
            except ConfigError as error:
                key = f"node.token_projects_initial[{index}].token"
                self._fault(key, f"{error.sentence}; {error.next_step}", error.code)

    def sources(self, projects: Mapping[str, SecretText]) -> list[tuple[SecretText, ...]]:
        """For each data source its tokens, each once; names of `projects` are replaced."""
        return [
            tuple(
                dict.fromkeys(
                    self._token(f"datasources[{number}].token[{index}]", entry, projects)
                    for index, entry in enumerate(source.token)
                )
            )
            for number, source in enumerate(self._document.datasources)
        ]

    def policies(self, effective: Iterable[Policy]) -> None:
        """Of each source, as it is in effect: no key of it says what another one takes back."""
        for number, policy in enumerate(effective):
            for name, sentence in policy.column_rules.contradictions():
                own = f"datasources[{number}].policy.{name}"
                self._fault(own if own in self._lines else f"settings.policy.{name}", sentence)

    def _fault(self, key: str, sentence: str, code: Code = Code.CONFIG_VALUE_WRONG) -> None:
        self._faults.add(self._lines[key], f"{key}: {sentence}", code)

    # --- names -----------------------------------------------------------------------------------

    def _names(self) -> None:
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

    # --- modes -----------------------------------------------------------------------------------

    def _mode(self, joins_kept: bool) -> None:
        match self._document.mode:
            case "node":
                self._node()
            case "client":
                self._client(joins_kept)
            case "standalone":
                self._standalone(joins_kept)

    def _node(self) -> None:
        join = self._document.join
        if join.first and join.url is not None:
            self._fault("join.url", "the first node joins nobody; remove the url or set first to false")
        if join.first is False and join.url is None and self._document.settings.discovery is False:
            self._fault("join.first", "without discovery a node that is not the first needs join.url")

    def _client(self, joins_kept: bool) -> None:
        join = self._document.join
        if join.first:
            step = "set it to false, and join.url to the address of a node in node mode"
            self._fault("join.first", f"{_A_CLIENT} is never the first: it joins through a node; {step}")
        elif join.url is None and not joins_kept:
            step = "set join.url to the address of a node in node mode, or join one by `flotta-p2p join`"
            self._fault("mode", f"{_A_CLIENT} joins through a node; {step}")
        self._shut(_A_CLIENT)

    def _standalone(self, joins_kept: bool) -> None:
        join = self._document.join
        if joins_kept:
            step = "forget them by `flotta-p2p join --forget ADDRESS`, or choose another workdir"
            sentence = f"mode: {_A_STANDALONE} joins nobody, and its work directory keeps addresses to join at; {step}"
            self._faults.add(self._lines.get("mode", 1), sentence, Code.NODE_ALONE)
        if join.url is not None:
            self._fault("join.url", f"{_A_STANDALONE} joins nobody; remove the url, or choose another mode")
        if join.first is False:
            self._fault("join.first", f"{_A_STANDALONE} is alone, and so the first; remove the key, or set it to true")
        self._shut(_A_STANDALONE)

    def _shut(self, who: str) -> None:
        """What others cannot reach is not told how others shall reach it."""
        node = self._document.node
        if node.url is not None:
            self._fault("node.url", f"{who} cannot be reached by others; remove the url, or set mode to node")
        if node.interface is not None and not ipaddress.IPv4Address(node.interface).is_loopback:
            step = 'set it to "localhost" or remove it'
            self._fault("node.interface", f"{who} opens no port to the outside; {step}, or set mode to node")
        if self._document.settings.discovery:
            step = "set it to false or remove it, or set mode to node"
            self._fault("settings.discovery", f"{who} announces nothing and is not found by others; {step}")

    # --- database and tokens ---------------------------------------------------------------------

    def _database(self) -> None:
        database = self._document.database
        if database.memory is False and database.host is None:
            self._fault("database.memory", "a database outside of memory needs database.host, the path of its file")

    def _token(self, key: str, entry: SecretText, known: Mapping[str, SecretText]) -> SecretText:
        text = entry.reveal()
        if text in known:
            return known[text]
        try:
            self._check_token(entry)
        except ConfigError as error:
            near = difflib.get_close_matches(text[:NAME_CHARS_MAX], known, n=1, cutoff=0.6)
            meant = f'; did you mean "{near[0]}"?' if near else "."
            sentence = (
                f"this is no project of this node; its projects are {', '.join(sorted(known)) or 'none'}{meant} Make or"
                f" join it with `flotta-p2p project new` or `project add`. As a token it is refused: {error.sentence}"
            )
            self._fault(key, sentence, Code.PROJECT_UNKNOWN if is_name(text) else error.code)
        return entry

    def _check_token(self, token: SecretText) -> None:
        """Weak tokens are for standalone nodes alone. Raises ConfigError."""
        check_token(token.reveal(), standalone=self._document.mode == "standalone")
