"""Every key of the configuration file, as frozen records with the file's own names.

What stands here of a key is the one source of what it may hold and what it means: the tables of docs/configuration.md,
the file of `flotta-p2p config init` and the JSON Schema are made from it. A field without a default is a key that must
be given. An empty value (`port: ""`, `url:`) counts as not given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from flotta_p2p.configuration.shapes import (
    ADDRESS,
    ADDRESS_OF_ANOTHER,
    BOOLEAN,
    DAY_MS,
    INTERFACE,
    NAME,
    NODE,
    PASSWORD,
    PATH,
    PERSON,
    PORT,
    PROXY,
    TEXT,
    TOKEN,
    TOKEN_OR_PROJECT,
    Address,
    Key,
    ListOf,
    Section,
    choice,
    days,
    seconds,
    whole,
)
from protocol.columns import ColumnRules
from protocol.limits import (
    ACCEPTED_MAX,
    CELL_ROWS_MIN,
    COHORT_ROWS_MIN,
    COLUMNS_MAX,
    MEASURE_BYTES_MAX,
    MIB,
    PROJECTS_MAX,
    RESULTS_KEEP_MS,
    RESULTS_KEEP_MS_MAX,
    RESULTS_KEEP_MS_MIN,
    RESULTS_QUOTA_BYTES,
    RESULTS_QUOTA_BYTES_MAX,
    RESULTS_QUOTA_BYTES_MIN,
    SOURCES_MAX,
    SUBMITTERS_PER_SOURCE_MAX,
)
from protocol.machines.stored_results import RetentionRules
from protocol.proxies.proxy import Proxy
from protocol.secret_text import SecretText

DAY_S = 86_400.0
COLUMNS = ListOf(TEXT, least=1, most=COLUMNS_MAX, build=frozenset)
COLUMNS_OR_NONE = ListOf(TEXT, most=COLUMNS_MAX, build=frozenset)  # an empty list: none
COLUMNS_OR_ALL = ListOf(TEXT, most=COLUMNS_MAX, word="all", build=frozenset)
ROWS_MAX = 1_000_000_000  # of a threshold: more than any table that a node reads

Mode = Literal["node", "client", "standalone"]


class Project(Section, frozen=True, kw_only=True):
    name: Annotated[str, NAME, Key("name of the project, for this node alone", "heart-study")]
    token: Annotated[SecretText, TOKEN, Key("the project's token", "${HEART_STUDY_TOKEN}")]


class Node(Section, frozen=True, kw_only=True):
    """`healthcheck` and `heartbeat` in seconds; without `interface` loopback and private addresses."""

    name: Annotated[str, NAME, Key("name shown to people", "hospital-north", "the host's name")] = ""
    healthcheck: Annotated[
        float,
        seconds(1, 30 * DAY_S),
        Key(
            "seconds between two checks of itself, 1 to 2592000; at most a minute while something is not well. "
            "`flotta-p2p status` shows what they found, the log when it begins and ends",
            "600",
        ),
    ] = 3600.0
    heartbeat: Annotated[
        float,
        seconds(0.1, DAY_S),
        Key("seconds between two fetches of a client, 0.1 to 86400", "2.5"),
    ] = 10.0
    allow_resource_download: Annotated[
        bool,
        BOOLEAN,
        Key(
            "`false`: this node hands out no result, so it refuses to lead a job; it still computes on its own sources",
            "false",
        ),
    ] = True
    protocol: Annotated[
        Literal["http", "https"],
        choice("http", "https"),
        Key(
            "`http` or `https`. Kept for files that have it: the link between nodes is always encrypted by CURVE",
            "https",
        ),
    ] = "http"
    interface: Annotated[
        str | None,
        INTERFACE,
        Key(
            "IPv4 address to listen on; `0.0.0.0` for all, `localhost` for this machine alone",
            "192.168.1.20",
            "loopback and private addresses",
        ),
    ] = None
    url: Annotated[
        Address | None,
        ADDRESS,
        Key(
            "address under which others reach this node, when it differs from its own (port forwarding)",
            "lab.example.org:443",
            "its own addresses",
        ),
    ] = None
    port: Annotated[int, PORT, Key("TCP port, 1 to 65535; the next one serves the key statement", "1500")] = 1456
    token_projects_initial: Annotated[
        tuple[Project, ...],
        ListOf(Project, most=PROJECTS_MAX),
        Key("projects that this node takes part in from its start"),
    ] = ()


class Join(Section, frozen=True, kw_only=True):
    """`first` None: not said, and then true exactly when there is no `url`."""

    first: Annotated[
        bool | None,
        BOOLEAN,
        Key(
            "whether this is the first node of its network. Several first nodes on one network simply meet",
            "false",
            "`true` without `join.url`, otherwise `false`",
        ),
    ] = None
    url: Annotated[
        Address | None,
        ADDRESS_OF_ANOTHER,
        Key(
            "address of a node to join by: `host:port`, also as `http://host:port` or `https://host:port`, which mean "
            "the same; without a port it is 1456. A client needs it, or an address that `flotta-p2p join` has kept",
            "node.example.org:1456",
            "none: found by discovery, or joined by `flotta-p2p join`",
        ),
    ] = None


class Policy(Section, frozen=True, kw_only=True):
    """What a holder lets out of a source. `submitters` are person ids; the last four are a ColumnRules."""

    minimum_cohort: Annotated[
        int,
        whole(1, ROWS_MAX, "a number of rows"),
        Key("with fewer selected rows nothing leaves, neither of all nor of a group", "20"),
    ] = COHORT_ROWS_MIN
    minimum_cell: Annotated[
        int,
        whole(1, ROWS_MAX, "a number of rows"),
        Key("histogram cells, groups and, in groups, missing values that are fewer are withheld", "10"),
    ] = CELL_ROWS_MIN
    submitters: Annotated[
        Literal["any"] | frozenset[bytes],
        ListOf(PERSON, least=1, most=SUBMITTERS_PER_SOURCE_MAX, word="any", build=frozenset),
        Key("`any` member of the project, or a list of person ids (`flotta-p2p key show`)", "any"),
    ] = "any"
    columns: Annotated[
        frozenset[str] | None,
        COLUMNS,
        Key("the columns that may be used", "[age, sex, site, days]", "all but hidden ones"),
    ] = None
    hidden: Annotated[
        frozenset[str],
        COLUMNS_OR_NONE,
        Key(
            "the columns that are not used and not seen: to others the table does not have them", "[name, ssn]", "none"
        ),
    ] = frozenset()
    groupable: Annotated[
        frozenset[str] | None,
        COLUMNS_OR_NONE,
        Key("the only columns that may group rows; `[]`: none", "[sex, site]", "all that are not for numbers alone"),
    ] = None
    numeric_only: Annotated[
        Literal["all"] | frozenset[str],
        COLUMNS_OR_ALL,
        Key(
            "columns that are used as numbers or not at all: they do not group, a filter compares them with numbers, "
            "and one that holds anything else is not seen; `all`: all that `groupable` does not name",
            "[age, days]",
            "none",
        ),
    ] = frozenset()

    @property
    def column_rules(self) -> ColumnRules:
        return ColumnRules(
            columns=self.columns, hidden=self.hidden, groupable=self.groupable, numeric_only=self.numeric_only
        )


class DataSource(Section, frozen=True, kw_only=True):
    """`token` opens this source; in a Configuration, names of projects are replaced by their tokens."""

    name: Annotated[str, NAME, Key("name of the source", "admissions")]
    kind: Annotated[
        Literal["file"], choice("file", later=("database", "sqlite", "postgresql")), Key("how it is kept: `file`")
    ] = "file"
    type: Annotated[
        Literal["csv", "tsv"],
        choice("csv", "tsv", later=("parquet",)),
        Key("`csv` or `tsv`. `parquet` is not part of this version yet", "csv"),
    ]
    path: Annotated[Path, PATH, Key("the file", "./data/admissions.csv")]
    token: Annotated[
        tuple[SecretText, ...],
        ListOf(TOKEN_OR_PROJECT, least=1, most=PROJECTS_MAX),
        Key(
            "the projects that may reach it, at least one: a token, or the name of a project of "
            "`node.token_projects_initial` or of `flotta-p2p project list`. With a token that stands here alone the "
            "node is a member of that project too",
            "[heart-study]",
        ),
    ]
    policy: Annotated[
        Policy, Key("what this holder lets out of it; a key that is not here is taken from `settings.policy`")
    ] = Policy()


class Database(Section, frozen=True, kw_only=True):
    """`memory` None: not said, and then true exactly when there is no `host`."""

    username: Annotated[str | None, TEXT, Key("for a database on a server", "flotta")] = None
    password: Annotated[
        SecretText | None, PASSWORD, Key("for a database on a server; never shown", "${DATABASE_PASSWORD}")
    ] = None
    scheme: Annotated[str, NAME, Key("name of the database on a server; a SQLite file has none")] = "flotta"
    memory: Annotated[
        bool | None,
        BOOLEAN,
        Key("keep it in memory", "false", "`true` without `database.host`, otherwise `false`"),
    ] = None
    dialect: Annotated[
        Literal["sqlite"],
        choice("sqlite", later=("postgresql",)),
        Key("`sqlite`. `postgresql` is not part of this version yet"),
    ] = "sqlite"
    host: Annotated[Path | None, PATH, Key("path of the SQLite file", "./storage/node.db")] = None
    port: Annotated[int | None, PORT, Key("for a database on a server, 1 to 65535", "5432")] = None


class Results(Section, frozen=True, kw_only=True):
    """What this node keeps of the jobs that it led."""

    keep_days: Annotated[
        Literal["forever"] | float,
        days(RESULTS_KEEP_MS_MIN, RESULTS_KEEP_MS_MAX, "forever"),
        Key(
            "how long a job that has ended is kept with its result, in days (`0.5`: twelve hours; at least one "
            f"hour, at most {RESULTS_KEEP_MS_MAX // DAY_MS}), or `forever`. Then both are removed",
            "30",
        ),
    ] = RESULTS_KEEP_MS / DAY_MS
    quota_mb: Annotated[
        int,
        whole(RESULTS_QUOTA_BYTES_MIN // MIB, RESULTS_QUOTA_BYTES_MAX // MIB, "a number of MiB"),
        Key(
            f"how many MiB of results this node stores at most, {RESULTS_QUOTA_BYTES_MIN // MIB} to "
            f"{RESULTS_QUOTA_BYTES_MAX // MIB}. A job that runs reserves the room of the largest result of its "
            f"question ({MEASURE_BYTES_MAX // MIB} MiB for statistics); one whose result might not fit is refused, "
            "and nothing is removed for it",
            "2048",
        ),
    ] = RESULTS_QUOTA_BYTES // MIB

    @property
    def retention(self) -> RetentionRules:
        keep_ms = None if self.keep_days == "forever" else round(self.keep_days * DAY_MS)
        return RetentionRules(keep_ms=keep_ms, quota_bytes=self.quota_mb * MIB)


class Settings(Section, frozen=True, kw_only=True):
    """`discovery` None: not said, and then true exactly in mode node. `proxy` None: addresses are dialled directly."""

    discovery: Annotated[
        bool | None,
        BOOLEAN,
        Key(
            "whether nodes are announced and found on the local network",
            "false",
            "`true` in mode `node`, otherwise `false`",
        ),
    ] = None
    keys: Annotated[
        Path | None,
        PATH,
        Key("folder of the node's key files; others may not write in it", "./keys", "`keys` in the work directory"),
    ] = None
    peers: Annotated[
        Literal["any"] | frozenset[bytes],
        ListOf(NODE, most=ACCEPTED_MAX, word="any", build=frozenset),
        Key(
            "`any` node that proves a common token may be a peer, or only the nodes of this list (ids, as "
            "`flotta-p2p peers` shows them) and those accepted by `flotta-p2p peers accept` or by an invitation. "
            "Others that prove it wait",
            "any",
        ),
    ] = "any"
    policy: Annotated[
        Policy, Key("what this holder lets out of each of its sources, unless the source's own `policy` says otherwise")
    ] = Policy()
    proxy: Annotated[
        Proxy | None,
        PROXY,
        Key(
            "the proxy by which every address is dialled: `socks5://[user:password@]host:port` or "
            "`http://[user:password@]host:port`",
            "http://node:${PROXY_PASSWORD}@proxy:3128",
            "none: addresses are dialled directly",
        ),
    ] = None
    results: Annotated[Results, Key("how long and how much this node keeps of the jobs that it led")] = Results()


class Document(Section, frozen=True, kw_only=True):
    """The whole file, as it was written."""

    workdir: Annotated[
        Path | None,
        PATH,
        Key(
            "folder for keys, tokens, databases and results; closed to other users (mode 0700)",
            "./storage",
            "the user's data folder, on Linux `~/.local/share/flotta-p2p`; for a standalone node "
            "`~/.local/share/flotta-p2p-standalone`",
        ),
    ] = None
    mode: Annotated[
        Mode,
        choice("node", "client", "standalone"),
        Key(
            "what this machine is: a `node`, reachable by others; a `client`, which opens no port, joins a node by "
            "`join.url` and is reached through it alone; or a `standalone` node for learning and tests"
        ),
    ] = "node"
    node: Annotated[Node, Key("this node")] = Node()
    join: Annotated[Join, Key("how it comes into its network")] = Join()
    datasources: Annotated[
        tuple[DataSource, ...], ListOf(DataSource, most=SOURCES_MAX), Key("the tables of this node")
    ] = ()
    database: Annotated[Database, Key("where jobs and messages are kept")] = Database()
    settings: Annotated[Settings, Key("all other settings")] = Settings()


class Configuration(Section, frozen=True, kw_only=True):
    """What a node starts from: nothing is left open, paths are absolute, tokens are resolved, each source has its whole
    policy.

    `database_file` None means a database in memory; `first` and `join_url` are never both set; `notes` are
    sentences that `up` prints; `given` are the paths of the keys that the file gives, such as `datasources[0].name`.
    """

    file: Path | None
    workdir: Path
    mode: Mode
    node: Node
    first: bool
    join_url: Address | None
    datasources: tuple[DataSource, ...]
    database: Database
    database_file: Path | None
    discovery: bool
    settings: Settings
    notes: tuple[str, ...]
    given: frozenset[str]

    @property
    def keys(self) -> Path:
        """The folder of the node's key files."""
        return key_folder(self.workdir, self.settings.keys)


def key_folder(workdir: Path, chosen: Path | None = None) -> Path:
    """Where the key files of a node lie; `chosen`: settings.keys."""
    return chosen or workdir / "keys"
