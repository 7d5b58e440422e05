"""Every key of the configuration file, as frozen records with the file's own names.

`docs/configuration.md` explains each. A field without a default is a key that must be given. An empty value
(`port: ""`, `url:`) counts as not given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from flotta_p2p.configuration.shapes import (
    ADDRESS,
    BOOLEAN,
    INTERFACE,
    NAME,
    PASSWORD,
    PATH,
    PERSON,
    PORT,
    TEXT,
    TOKEN,
    TOKEN_OR_PROJECT,
    Address,
    ListOf,
    Section,
    choice,
    seconds,
    whole,
)
from protocol.columns import ColumnRules
from protocol.limits import (
    CELL_ROWS_MIN,
    COHORT_ROWS_MIN,
    COLUMNS_MAX,
    PROJECTS_MAX,
    SOURCES_MAX,
    SUBMITTERS_PER_SOURCE_MAX,
)
from protocol.secret_text import SecretText

DAY_S = 86_400.0
COLUMNS = ListOf(TEXT, least=1, most=COLUMNS_MAX, build=frozenset)
COLUMNS_OR_NONE = ListOf(TEXT, most=COLUMNS_MAX, build=frozenset)  # an empty list: no column groups
COLUMNS_OR_ALL = ListOf(TEXT, least=1, most=COLUMNS_MAX, word="all", build=frozenset)
ROWS_MAX = 1_000_000_000  # of a threshold: more than any table that a node reads


class Project(Section, frozen=True, kw_only=True):
    name: Annotated[str, NAME]
    token: Annotated[SecretText, TOKEN]


class Node(Section, frozen=True, kw_only=True):
    """`healthcheck` and `heartbeat` in seconds; without `interface` loopback and private addresses."""

    name: Annotated[str, NAME] = ""  # read_configuration puts the host's name
    healthcheck: Annotated[float, seconds(1, 30 * DAY_S)] = 3600.0
    heartbeat: Annotated[float, seconds(0.1, DAY_S)] = 10.0
    allow_resource_download: Annotated[bool, BOOLEAN] = True
    protocol: Annotated[Literal["http", "https"], choice("http", "https")] = "http"
    interface: Annotated[str | None, INTERFACE] = None
    url: Annotated[Address | None, ADDRESS] = None
    port: Annotated[int, PORT] = 1456
    discovery: Annotated[bool, BOOLEAN] = True
    token_projects_initial: Annotated[tuple[Project, ...], ListOf(Project, most=PROJECTS_MAX)] = ()


class Join(Section, frozen=True, kw_only=True):
    """`first` None: not said, and then true exactly when there is no `url`."""

    first: Annotated[bool | None, BOOLEAN] = None
    url: Annotated[Address | None, ADDRESS] = None


class Policy(Section, frozen=True, kw_only=True):
    """What a holder lets out of a source. `submitters` are person ids; the last four are a ColumnRules."""

    minimum_cohort: Annotated[int, whole(1, ROWS_MAX, "a number of rows")] = COHORT_ROWS_MIN
    minimum_cell: Annotated[int, whole(1, ROWS_MAX, "a number of rows")] = CELL_ROWS_MIN
    submitters: Annotated[
        Literal["any"] | frozenset[bytes],
        ListOf(PERSON, least=1, most=SUBMITTERS_PER_SOURCE_MAX, word="any", build=frozenset),
    ] = "any"
    columns: Annotated[frozenset[str] | None, COLUMNS] = None
    hidden: Annotated[frozenset[str], COLUMNS] = frozenset()
    groupable: Annotated[frozenset[str] | None, COLUMNS_OR_NONE] = None
    numeric_only: Annotated[Literal["all"] | frozenset[str], COLUMNS_OR_ALL] = frozenset()

    @property
    def column_rules(self) -> ColumnRules:
        return ColumnRules(
            columns=self.columns, hidden=self.hidden, groupable=self.groupable, numeric_only=self.numeric_only
        )


class DataSource(Section, frozen=True, kw_only=True):
    """`token` opens this source; in a Configuration, names of projects are replaced by their tokens."""

    name: Annotated[str, NAME]
    kind: Annotated[Literal["file"], choice("file", later=("database", "sqlite", "postgresql"))] = "file"
    type: Annotated[Literal["csv", "tsv"], choice("csv", "tsv", later=("parquet",))]
    path: Annotated[Path, PATH]
    token: Annotated[tuple[SecretText, ...], ListOf(TOKEN_OR_PROJECT, least=1, most=PROJECTS_MAX)]
    policy: Policy = Policy()


class Database(Section, frozen=True, kw_only=True):
    """`memory` None: not said, and then true exactly when there is no `host`."""

    username: Annotated[str | None, TEXT] = None
    password: Annotated[SecretText | None, PASSWORD] = None
    scheme: Annotated[str, NAME] = "flotta"
    memory: Annotated[bool | None, BOOLEAN] = None
    dialect: Annotated[Literal["sqlite"], choice("sqlite", later=("postgresql",))] = "sqlite"
    host: Annotated[Path | None, PATH] = None
    port: Annotated[int | None, PORT] = None


class Document(Section, frozen=True, kw_only=True):
    """The whole file, as it was written."""

    workdir: Annotated[Path | None, PATH] = None
    mode: Annotated[Literal["node", "client"], choice("node", "client", later=("standalone",))] = "node"
    node: Node = Node()
    join: Join = Join()
    datasources: Annotated[tuple[DataSource, ...], ListOf(DataSource, most=SOURCES_MAX)] = ()
    database: Database = Database()


class Configuration(Section, frozen=True, kw_only=True):
    """What a node starts from: nothing is left open, paths are absolute, tokens are resolved.

    `database_file` None means a database in memory; `first` and `join_url` are never both set; `notes` are
    sentences that `up` prints.
    """

    file: Path | None
    workdir: Path
    mode: Literal["node", "client"]
    node: Node
    first: bool
    join_url: Address | None
    datasources: tuple[DataSource, ...]
    database: Database
    database_file: Path | None
    notes: tuple[str, ...]
