from __future__ import annotations

from pathlib import Path

import pytest

from actors.adapters.token_files import add_project
from flotta_p2p.configuration.read import read_configuration
from protocol.ids import format_id, node_id
from protocol.machines.stored_results import RetentionRules
from protocol.secret_text import SecretText
from tests.flotta_p2p.configuration_files import TOKEN_A, TOKEN_B, faults, read

# The sample of the manual that this project comes from, its placeholders filled in.
SAMPLE = f"""
  workdir: ./storage                  # OPTIONAL: local path of the working directory

  mode: node                          # one of: node, client, standalone

  node:
    name: flottaNode
    healthcheck: 3600.0               # wait in seconds for check self status
    heartbeat: 10.0                   # wait in seconds for clients to fetch updates
    allow_resource_download: true     # if false, nobody can download resources from this node

    protocol: http                    # external protocol (http or https)
    interface: 0.0.0.0                # interface to use (0.0.0.0 for node, "localhost" for clients)
    url: ""                           # external url that the node will be reachable at
    port: 1456                        # external port to use to reach the APIs

    token_projects_initial:           # initial projects available at node start
      - name: my_beautiful_project    # name of the project
        token: {TOKEN_A}              # unique token assigned to the project

  join:
    first: true                       # if true, this is the first node in the distributed network
    url: ""                           # when a node is note the first, set the url for the join node

  datasources:                        # list of available datasources
    - name: iris                      # name of the source
      kind: file                      # how the datasource is stored (only 'file')
      type: csv                       # file format supported (only 'csv' or 'tsv')
      path: /data/iris.csv            # path to the file to use
      token:                          # list of project token that can access this datasource
      - {TOKEN_A}

  database:
    username: ""                      # username used to access the database
    password: ""                      # password used to access the database
    scheme: flotta                # specify the name of the database schema to use
    memory: false                     # when set to true, a SQLite in-memory database will be used
    dialect: sqlite                   # current accepted dialects are: SQLite and Postgresql
    host: ./sqlite.db                 # local path for local file (QSLite) or url for remote database
    port: ""                          # port to use to connect to a remote database
"""


def source(extra: str = "", token: str = f"[{TOKEN_A}]") -> str:
    return f"datasources:\n- {{name: iris, type: csv, path: iris.csv, token: {token}{extra}}}\n"


def test_the_sample_of_the_original_manual_is_valid(tmp_path: Path) -> None:
    found = read(tmp_path, SAMPLE)
    assert (found.workdir, found.mode, found.first, found.join_url) == (tmp_path / "storage", "node", True, None)
    assert (found.node.name, found.node.interface, found.node.url, found.node.port) == (
        "flottaNode",
        "0.0.0.0",
        None,
        1456,
    )
    assert (found.node.healthcheck, found.node.heartbeat, found.node.allow_resource_download) == (3600.0, 10.0, True)
    assert [(one.name, one.token.reveal()) for one in found.node.token_projects_initial] == [
        ("my_beautiful_project", TOKEN_A)
    ]
    assert [(one.name, one.type, one.path) for one in found.datasources] == [("iris", "csv", Path("/data/iris.csv"))]
    assert [token.reveal() for token in found.datasources[0].token] == [TOKEN_A]
    assert (found.database_file, found.database.password, found.database.port) == (tmp_path / "sqlite.db", None, None)
    assert found.notes == ()


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "node:\njoin:\n", "---\n", '""', "\ufeff"])
def test_an_empty_file_gives_the_defaults(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert (found.node.port, found.first, found.datasources, found.database_file) == (1456, True, (), None)
    assert found.discovery and found.node.interface is None and found.node.name


def test_without_a_file_the_work_directory_is_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = read_configuration(None, {})
    assert (found.file, found.workdir, found.mode, found.database_file) == (None, tmp_path / "flotta-p2p", "node", None)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.yaml").write_text("workdir: work\ndatabase: {host: db/node.db}\n" + source())
    monkeypatch.chdir(tmp_path)
    found = read_configuration(Path("conf/a.yaml"), {})
    home = tmp_path / "conf"
    assert (found.workdir, found.database_file) == (home / "work", home / "db/node.db")
    assert found.datasources[0].path == home / "iris.csv"


@pytest.mark.parametrize("name", ["no", "007", "12:30:45", "2024-01-01", "1e5", "true", "0x10", "1_000"])
def test_plain_text_stays_text_where_text_is_wanted(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"database: {{username: {name}}}").database.username == name


def test_a_token_of_digits_keeps_every_digit(tmp_path: Path) -> None:
    digits = "00730518264990371652840917365028471956382047"
    found = read(tmp_path, f"node: {{token_projects_initial: [{{name: p, token: {digits}}}]}}")
    assert found.node.token_projects_initial[0].token.reveal() == digits


@pytest.mark.parametrize("database, file", [("{}", None), ("{memory: true, host: x}", None), ("{host: x.db}", "x.db")])
def test_the_database_is_in_memory_unless_a_file_is_named(tmp_path: Path, database: str, file: str | None) -> None:
    assert read(tmp_path, f"database: {database}").database_file == (None if file is None else tmp_path / file)


@pytest.mark.parametrize(
    "join, first, url",
    [
        ("{}", True, None),
        ("{url: a:1}", False, "a:1"),
        ("{url: lab.example.org}", False, "lab.example.org:1456"),  # as `flotta-p2p join` takes it
        ("{first: false}", False, None),
    ],
)
def test_a_node_is_the_first_unless_it_is_told_to_join(tmp_path: Path, join: str, first: bool, url: str | None) -> None:
    found = read(tmp_path, f"join: {join}")
    assert (found.first, str(found.join_url) if found.join_url else None) == (first, url)


def test_a_proxy_takes_its_password_from_a_variable_and_does_not_show_it(tmp_path: Path) -> None:
    text = "settings: {proxy: 'http://ada:${PROXY_PASSWORD}@proxy.example.org:3128'}"
    found = read(tmp_path, text, {"PROXY_PASSWORD": "p@ss:w/rd"})
    proxy = found.settings.proxy
    assert proxy is not None
    assert (proxy.kind, proxy.address, proxy.user) == ("http", "proxy.example.org:3128", "ada")
    assert proxy.password is not None and proxy.password.reveal() == "p@ss:w/rd"
    assert "p@ss" not in repr(found)
    assert read(tmp_path, "").settings.proxy is None
    assert read(tmp_path, "settings: {proxy: ''}").settings.proxy is None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_web_address_means_host_and_port_and_a_note_says_so(tmp_path: Path, scheme: str) -> None:
    found = read(tmp_path, f"join: {{url: '{scheme}://node.example.org:443/'}}")
    assert found.join_url is not None
    assert (found.join_url.host, found.join_url.port) == ("node.example.org", 443)
    assert found.notes == (
        f'join.url: "{scheme}" only names host and port; the link between nodes is always encrypted by CURVE.',
    )


def test_localhost_is_the_loopback_address(tmp_path: Path) -> None:
    assert read(tmp_path, "node: {interface: localhost}").node.interface == "127.0.0.1"


def test_a_source_may_name_a_project_in_place_of_its_token(tmp_path: Path) -> None:
    add_project(tmp_path / "work", "stored", SecretText(TOKEN_B))
    found = read(
        tmp_path,
        f"workdir: work\nnode: {{token_projects_initial: [{{name: initial, token: {TOKEN_A}}}]}}\n"
        + source(token=f"[initial, stored, {TOKEN_B}]"),
    )
    assert [token.reveal() for token in found.datasources[0].token] == [TOKEN_A, TOKEN_B]


def test_a_policy_names_persons_and_columns(tmp_path: Path) -> None:
    person = node_id(bytes(range(32)))
    policy = f"{{minimum_cohort: 20, minimum_cell: 7, submitters: [{format_id(person)}], columns: [age, no]}}"
    found = read(tmp_path, source(f", policy: {policy}")).datasources[0].policy
    assert (found.minimum_cohort, found.minimum_cell) == (20, 7)
    assert (found.submitters, found.columns) == (frozenset({person}), frozenset({"age", "no"}))


def test_without_a_policy_the_defaults_hold(tmp_path: Path) -> None:
    for text in (source(), source(", policy: {submitters: any}")):
        found = read(tmp_path, text).datasources[0].policy
        assert (found.minimum_cohort, found.minimum_cell, found.submitters, found.columns) == (10, 5, "any", None)


def test_a_policy_for_all_sources_counts_before_the_defaults_and_a_sources_own_before_it(tmp_path: Path) -> None:
    shared = "settings: {policy: {minimum_cohort: 30, minimum_cell: 8, columns: [age]}}\n"
    found = read(tmp_path, shared + source(", policy: {minimum_cohort: 10, submitters: any}")).datasources[0].policy
    assert (found.minimum_cohort, found.minimum_cell, found.columns) == (10, 8, frozenset({"age"}))
    assert read(tmp_path, shared + source()).datasources[0].policy.minimum_cohort == 30


def test_the_folder_of_the_keys_is_in_the_work_directory_unless_it_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, "workdir: work").keys == tmp_path / "work" / "keys"
    assert read(tmp_path, "workdir: work\nsettings: {keys: safe}").keys == tmp_path / "safe"


def test_variables_are_replaced_in_every_value_lists_included(tmp_path: Path) -> None:
    environ = {"PORT": "1500", "T": TOKEN_A, "PW": "a: [b] ${T}", "EMPTY": "", "DIR": "data"}
    text = (
        'node: {port: "${PORT}", url: "${EMPTY}"}\ndatabase: {password: "${PW}", username: "$${PW}-${PORT}"}\n'
        "datasources: [{name: a, type: csv, path: '${DIR}/${DIR}.csv', token: ['${T}']}]\n"
    )
    found = read(tmp_path, text, environ)
    assert (found.node.port, found.node.url, found.database.username) == (1500, None, "${PW}-1500")
    assert found.database.password is not None and found.database.password.reveal() == "a: [b] ${T}"
    assert found.datasources[0].path == tmp_path / "data/data.csv"
    assert found.datasources[0].token[0].reveal() == TOKEN_A


def test_secrets_are_masked_wherever_the_configuration_is_shown(tmp_path: Path) -> None:
    found = read(tmp_path, SAMPLE.replace('password: ""', "password: geheim"))
    shown = f"{found} {found!r} {found.database.password}"
    assert TOKEN_A not in shown and "geheim" not in shown and "***" in shown


def test_secrets_are_masked_in_every_refusal(tmp_path: Path) -> None:
    text = f"node: {{token_projects_initial: {TOKEN_A}, port: x}}\ndatabase: {{password: [geheim]}}\n" + source(
        token="geheim"
    )
    shown = "\n".join(faults(tmp_path, text))
    assert shown.count("\n") == 3 and TOKEN_A not in shown and "geheim" not in shown


@pytest.mark.parametrize(
    ("text", "keep_ms", "quota_bytes"),
    [
        ("", 90 * 86_400_000, 10_240 << 20),
        ("keep_days: forever", None, 10_240 << 20),
        ("keep_days: 0.5\n    quota_mb: 16", 43_200_000, 16 << 20),
        ("keep_days: '30'", 30 * 86_400_000, 10_240 << 20),
    ],
)
def test_what_is_kept_of_jobs_is_told_in_days_and_mebibytes(
    text: str, keep_ms: int | None, quota_bytes: int, tmp_path: Path
) -> None:
    results = read(tmp_path, f"settings:\n  results:\n    {text}\n" if text else "").settings.results
    assert results.retention == RetentionRules(keep_ms=keep_ms, quota_bytes=quota_bytes)


@pytest.mark.parametrize("days", ["0.04", "36501", "never", "Forever"])
def test_a_time_to_keep_jobs_that_makes_no_sense_is_refused(days: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, f"settings:\n  results:\n    keep_days: {days}\n")
    assert 'expected a number of days from 0.0417 to 36500, or "forever"' in fault
