from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flotta_p2p.configuration.read import read_configuration
from protocol.errors import Code, ConfigError
from protocol.limits import CONFIG_BYTES_MAX, CONFIG_FAULTS_MAX
from tests.flotta_p2p.configuration_files import TOKEN_A, TOKEN_B, faults, refusal

SOURCE = f"datasources:\n- {{name: iris, type: csv, path: iris.csv, token: [{TOKEN_A}]"
AT_ONCE_S = 2  # of computing: what else the machine does at that time is not the fault of the file
PROJECTS = "node:\n  token_projects_initial:\n"
TOP_KEYS = "the keys here are workdir, mode, node, join, datasources, database, settings"
A_NAME = "a name of 1 to 64 ASCII letters, digits, dots, hyphens or underscores, the first a letter or digit"

ONE_FAULT = {
    # keys
    f"datasources:\n- name: iris\n  type: csv\n  path: a.csv\n  token: [{TOKEN_A}]\n  tokn: x": (
        'line 6: unknown key "tokn" under datasources[0]; did you mean "token"?'
    ),
    "\nNode: {}": 'line 2: unknown key "Node" at the top level; did you mean "node"?',
    "zzz: 1": f'line 1: unknown key "zzz" at the top level; {TOP_KEYS}',
    '"a\\nb\\e[31m": 1': f'line 1: unknown key "a\\u000ab\\u001b[31m" at the top level; {TOP_KEYS}',
    "join: {first: true}\nnode: {}\njoin: {}": 'line 3: the key "join" stands already on line 1; keep one of the two',
    "join:\n  first: true\n  first: true": 'line 3: the key "first" stands already on line 2; keep one of the two',
    f"datasources:\n- name: iris\n  type: csv\n  token: [{TOKEN_A}]": (
        'line 2: datasources[0] has no "path"; expected a path'
    ),
    "datasources:\n- type: csv\n  path: p\n  name:\n  token: ['x${V}']": (
        f'line 2: datasources[0] has no "name"; expected {A_NAME}'
    ),
    # values
    "node:\n  port: abc": 'line 2: node.port: expected a whole number from 1 to 65535, saw "abc"',
    "node: {port: 0}": 'line 1: node.port: expected a whole number from 1 to 65535, saw "0"',
    "node: {port: 1456.0}": 'line 1: node.port: expected a whole number from 1 to 65535, saw "1456.0"',
    "node: {port: ²}": 'line 1: node.port: expected a whole number from 1 to 65535, saw "²"',
    "node: {port: [1]}": "line 1: node.port: expected a whole number from 1 to 65535, saw a list",
    "node: {heartbeat: 0}": 'line 1: node.heartbeat: expected a number of seconds from 0.1 to 86400, saw "0"',
    "node: {heartbeat: .inf}": 'line 1: node.heartbeat: expected a number of seconds from 0.1 to 86400, saw ".inf"',
    "node: {healthcheck: -1}": 'line 1: node.healthcheck: expected a number of seconds from 1 to 2592000, saw "-1"',
    "settings: {discovery: yes}": 'line 1: settings.discovery: expected true or false, saw "yes"',
    "node:\n  discovery: false": ('line 2: unknown key "discovery" under node; did you mean "settings.discovery"?'),
    "port: 1456": 'line 1: unknown key "port" at the top level; did you mean "node.port" or "database.port"?',
    "node: {name: a b}": f'line 1: node.name: expected {A_NAME}, saw "a b"',
    "node: {protocol: ftp}": 'line 1: node.protocol: expected "http" or "https", saw "ftp"',
    "node: {interface: eth0}": (
        'line 1: node.interface: expected an IPv4 address of this machine, "0.0.0.0" for all of them or "localhost", '
        'saw "eth0"'
    ),
    "node: {url: lab}": 'line 1: node.url: expected host:port, http://host:port or https://host:port, saw "lab"',
    "join: {url: 'lab:²'}": (
        'line 1: join.url: expected host, host:port, http://host:port or https://host:port, saw "lab:²"'
    ),
    "settings: {proxy: 'ftp://ada:secret@proxy:21'}": (
        "line 1: settings.proxy: this is no address of a proxy; write socks5://[user:password@]host:port or "
        "http://[user:password@]host:port"
    ),
    "settings: {proxy: 'http://ada@proxy:21'}": (
        "line 1: settings.proxy: user and password of the proxy have 1 to 255 bytes each, without control characters; "
        "write socks5://[user:password@]host:port or http://[user:password@]host:port"
    ),
    "node: 1456": (
        "line 1: node: expected the keys name, healthcheck, heartbeat, allow_resource_download, protocol, interface, "
        "url, port, token_projects_initial, saw a single value"
    ),
    "- a": 'line 1: expected keys such as "node:" at the top level, saw a list',
    "mode": 'line 1: expected keys such as "node:" at the top level, saw a single value',
    'workdir: "a\\0b"': 'line 1: workdir: expected a path, saw "a\\u0000b"',
    "workdir: ~/flotta": 'line 1: workdir: a path that begins with "~" is not replaced; write ${HOME} instead',
    SOURCE + ", policy: {minimum_cohort: 0}}": (
        'line 2: datasources[0].policy.minimum_cohort: expected a number of rows from 1 to 1000000000, saw "0"'
    ),
    SOURCE + ", policy: {columns: []}}": "line 2: datasources[0].policy.columns: expected 1 to 4096 entries, saw 0",
    SOURCE + ", policy: {columns: [age, [sex]]}}": (
        "line 2: datasources[0].policy.columns[1]: expected text without control characters, saw a list"
    ),
    SOURCE + ", policy: {submitters: nobody}}": (
        'line 2: datasources[0].policy.submitters: expected "any" or a list, each entry a person id, saw a single value'
    ),
    SOURCE + ", policy: {submitters: [MFZWI3D]}}": (
        "line 2: datasources[0].policy.submitters[0]: an id has 56 characters in 8 groups of 7, this one has 7"
    ),
    # settings
    "settings: {peers: nobody}": (
        'line 1: settings.peers: expected "any" or a list, each entry a node id, saw a single value'
    ),
    "settings: {peers: [MFZWI3D]}": (
        "line 1: settings.peers[0]: an id has 56 characters in 8 groups of 7, this one has 7"
    ),
    # tokens
    "datasources: [{name: a, type: csv, path: p, token: []}]": (
        "line 1: datasources[0].token: expected 1 to 64 entries, saw 0"
    ),
    "datasources: [{name: a, type: csv, path: p, token: x}]": (
        "line 1: datasources[0].token: expected a list, each entry a project token or the name of a project, "
        "saw a single value"
    ),
    f"{PROJECTS}  - {{name: a, token: {TOKEN_A}}}\n  - {{name: a, token: {TOKEN_B}}}": (
        "line 4: node.token_projects_initial[1].name: the same name stands already on line 3"
    ),
    f"{PROJECTS}  - {{name: a, token: {TOKEN_A}}}\n  - {{name: b, token: {TOKEN_A}}}": (
        "line 4: node.token_projects_initial[1].token: the same token stands already on line 3"
    ),
    f"{SOURCE}}}\n- {{name: iris, type: tsv, path: b, token: [{TOKEN_A}]}}": (
        "line 3: datasources[1].name: the same name stands already on line 2"
    ),
    # keys that do not go together
    "join:\n  first: true\n  url: lab:1456": (
        "line 3: join.url: the first node joins nobody; remove the url or set first to false"
    ),
    "settings: {discovery: false}\njoin: {first: false}": (
        "line 2: join.first: without discovery a node that is not the first needs join.url"
    ),
    "database: {memory: false}": (
        "line 1: database.memory: a database outside of memory needs database.host, the path of its file"
    ),
    # not yet
    "database: {dialect: Postgresql}": (
        'line 1: database.dialect: "postgresql" is not part of this version yet; it can do "sqlite"'
    ),
    SOURCE.replace("csv,", "parquet,") + "}": (
        'line 2: datasources[0].type: "parquet" is not part of this version yet; it can do "csv" or "tsv"'
    ),
    SOURCE + ", kind: database}": (
        'line 2: datasources[0].kind: "database" is not part of this version yet; it can do "file"'
    ),
    "mode: nod": 'line 1: mode: expected "node", "client" or "standalone", saw "nod"',
    # variables
    "node:\n  name: x-${ABC}": "line 2: the environment variable ABC is not set; set it or write the value itself",
    "node: {token_projects_initial: [{name: a, token: '${ABC}'}]}": (
        "line 1: the environment variable ABC is not set; set it or write the value itself"
    ),
    "node: {name: '${A B}'}": (
        'line 1: a "${" is not followed by a name and "}"; write ${NAME}, or $${ for a plain ${'
    ),
    # YAML
    "node:\n\tport: 1": "line 2: a tab stands where spaces are expected; indent with spaces",
    "a: [1": (
        "line 2: this is not YAML: did not find expected ',' or ']' "
        "(while parsing a flow sequence that begins on line 1)"
    ),
    "datasources:\n  - token: [${ABC}]": 'line 2: between brackets or braces a ${NAME} stands in quotes: ["${NAME}"]',
    "node: {name: x, url: ${ABC}}": 'line 1: between brackets or braces a ${NAME} stands in quotes: ["${NAME}"]',
    "a: b: c": "line 1: this is not YAML: mapping values are not allowed in this context",
    "a: 1\nb: \x07": "line 2: the control character U+0007 is not allowed; remove it",
    "a: 1\n---\nb: 1": 'line 2: a second document begins; expected one: remove the line "---"',
    "node: !!python/object:os.system {}": (
        'line 1: the tag "tag:yaml.org,2002:python/object:os.system" is not allowed; remove it'
    ),
    "node: &x {}": "line 1: the anchor &x is not allowed; remove it",
    "node: *x": "line 1: the alias *x is not allowed; write the value itself",
    "? [a]\n: 1": "line 1: expected the name of a key, saw a list",
    "~: 1": "line 1: expected the name of a key, saw nothing",
    "workdir: " + "x" * 4097: "line 1: a value is longer than 4096 characters",
}


@pytest.mark.parametrize("text, sentence", ONE_FAULT.items())
def test_one_fault_gives_one_clear_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    assert faults(tmp_path, text, {"V": "iris-7-f83jdk29dj3l20dk39dj28fh39dk20"}) == [f"site.yaml {sentence}"]


def test_a_weak_token_is_refused_with_the_reason_of_the_token_rules(tmp_path: Path) -> None:
    found = refusal(tmp_path, f"{PROJECTS}  - {{name: a, token: secret}}")
    assert found.code == Code.TOKEN_WEAK
    assert "line 3: node.token_projects_initial[0].token: " in str(found) and "secret" not in str(found)


def test_a_misspelt_project_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    text = f"{PROJECTS}  - {{name: heart-study, token: {TOKEN_A}}}\n" + SOURCE.replace(TOKEN_A, "hart-study") + "}"
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(
        "site.yaml line 5: datasources[0].token[0]: this is no project of this node; its projects are heart-study; "
        'did you mean "heart-study"? '
    )
    assert "Next:" not in fault


def test_a_project_that_the_node_does_not_know_has_a_code_of_its_own_and_one_that_cannot_be_a_name_that_of_tokens(
    tmp_path: Path,
) -> None:
    text = f"{PROJECTS}  - {{name: heart, token: {TOKEN_A}}}\n" + SOURCE
    assert refusal(tmp_path, text.replace(f"[{TOKEN_A}]", "[stroke]") + "}").code == Code.PROJECT_UNKNOWN
    assert refusal(tmp_path, text.replace(f"[{TOKEN_A}]", "['a b c d']") + "}").code == Code.TOKEN_WEAK


def test_all_faults_are_listed_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "mode: server\nnode:\n  port: x\n  port: 1\n  nme: a\njoin:\n  first: 1\n  url: ${URL}\n"
    assert [fault.partition(":")[0] for fault in faults(tmp_path, text)] == [
        f"site.yaml line {line}" for line in (1, 3, 4, 5, 7, 8)
    ]


def test_a_file_of_nothing_but_faults_is_answered_at_once(tmp_path: Path) -> None:
    text = "".join(f"k{number}: 1\n" for number in range(20_000))
    began = time.thread_time()
    lines = faults(tmp_path, text)
    assert time.thread_time() - began < AT_ONCE_S
    assert len(lines) == CONFIG_FAULTS_MAX + 1 and lines[-1] == "site.yaml: reading ended here, after 50 faults"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{" * 200_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: " + "[" * 3_000,
        "".join(" " * n + "a:\n" for n in range(500)),
    ],
    ids=["brackets", "braces", "dashes", "question marks", "3,000 brackets", "indents"],
)
def test_deep_nesting_is_refused_at_once(tmp_path: Path, text: str) -> None:
    began = time.thread_time()
    found = "\n".join(faults(tmp_path, text))
    assert time.thread_time() - began < AT_ONCE_S
    assert "lists and keys are nested deeper than 32 levels" in found


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{after}: &{after} [*{before},*{before}]\n" for before, after in zip("abcdef", "bcdefg", strict=True)
    )
    assert "line 2: the alias *a is not allowed; write the value itself" in "\n".join(faults(tmp_path, bomb))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    assert faults(tmp_path, "#" * (CONFIG_BYTES_MAX + 1)) == ["site.yaml line 1: the file is larger than 256 KiB"]


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"#" * CONFIG_BYTES_MAX)
    assert read_configuration(path, {}).node.port == 1456


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    said = "the text is not UTF-8 (byte 0xfc); save the file as UTF-8"
    assert faults(tmp_path, b"node:\n  name: M\xfcnchen\n") == [f"site.yaml line 2: {said}"]
    assert faults(tmp_path, "mode: node".encode("utf-16"))[0].startswith("site.yaml line 1: the text is not UTF-8")


def test_a_variable_can_not_add_keys(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "node:\n  name: ${EVIL}", {"EVIL": "a\n  port: 1"})
    assert fault.endswith('saw "a\\u000a  port: 1"')


def test_variables_can_not_grow_a_value_without_end(tmp_path: Path) -> None:
    said = "site.yaml line 1: a value with its variables is longer than 4096 characters"
    assert faults(tmp_path, "workdir: ${A}${A}", {"A": "x" * 3_000}) == [said]


@pytest.mark.parametrize(
    "code, text",
    [
        (Code.VARIABLE_UNSET, "workdir: ${A}"),
        (Code.CONFIG_KEY_UNKNOWN, "a: 1"),
        (Code.CONFIG_VALUE_WRONG, "mode: a"),
        (Code.CONFIG_MALFORMED, "a: ["),
    ],
)
def test_the_code_is_that_of_the_first_fault(tmp_path: Path, code: Code, text: str) -> None:
    assert refusal(tmp_path, text).code == code


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        "missing.yaml": "No such file or directory",
        ".": "it is not a regular file",
        "pipe": "it is not a regular file",
    }
    for name, reason in reasons.items():
        path = tmp_path / name
        with pytest.raises(ConfigError) as caught:
            read_configuration(path, {})
        assert caught.value.sentence == f"the configuration file {path} cannot be read: {reason}"
