"""What each mode asks of the file, and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.adapters.joining_files import keep_join
from flotta_p2p.configuration.read import read_configuration, read_home
from flotta_p2p.identity import Projects, choose_listening
from protocol.errors import Code, ConfigError
from protocol.machines.events import KeptJoin
from tests.flotta_p2p.configuration_files import TOKEN_A, faults, read, refusal, write

CLIENT = "mode: client\njoin: {url: lab:1456}\n"
SOURCE = "datasources: [{name: iris, type: csv, path: iris.csv, token: [%s]}]\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    {
        "mode: client": (
            "line 1: mode: a client joins through a node; set join.url to the address of a node in node mode, "
            "or join one by `flotta-p2p join`"
        ),
        "mode: client\njoin: {first: true}": (
            "line 2: join.first: a client is never the first: it joins through a node; "
            "set it to false, and join.url to the address of a node in node mode"
        ),
        CLIENT + "node: {url: lab.example.org:443}": (
            "line 3: node.url: a client cannot be reached by others; remove the url, or set mode to node"
        ),
        CLIENT + "node: {interface: 0.0.0.0}": (
            "line 3: node.interface: a client opens no port to the outside; "
            'set it to "localhost" or remove it, or set mode to node'
        ),
        CLIENT + "settings: {discovery: true}": (
            "line 3: settings.discovery: a client announces nothing and is not found by others; "
            "set it to false or remove it, or set mode to node"
        ),
        "mode: standalone\njoin: {url: lab:1456}": (
            "line 2: join.url: a standalone node joins nobody; remove the url, or choose another mode"
        ),
        "mode: standalone\njoin: {first: false}": (
            "line 2: join.first: a standalone node is alone, and so the first; remove the key, or set it to true"
        ),
        "mode: standalone\nnode: {url: lab:1456}": (
            "line 2: node.url: a standalone node cannot be reached by others; remove the url, or set mode to node"
        ),
        "mode: standalone\nnode: {interface: 10.0.0.1}": (
            "line 2: node.interface: a standalone node opens no port to the outside; "
            'set it to "localhost" or remove it, or set mode to node'
        ),
        "mode: standalone\nsettings: {discovery: true}": (
            "line 2: settings.discovery: a standalone node announces nothing and is not found by others; "
            "set it to false or remove it, or set mode to node"
        ),
    }.items(),
)
def test_a_contradiction_between_mode_and_keys_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    assert faults(tmp_path, text) == [f"site.yaml {sentence}"]


def test_a_client_that_has_joined_by_command_needs_no_url(tmp_path: Path) -> None:
    keep_join(tmp_path / "work", KeptJoin(address="lab:1456"))
    configuration = read(tmp_path, "workdir: ./work\nmode: client\n")
    assert (configuration.first, configuration.join_url) == (False, None)


def test_a_standalone_node_in_a_work_directory_that_joins_is_refused(tmp_path: Path) -> None:
    keep_join(tmp_path / "work", KeptJoin(address="lab:1456"))
    path = write(tmp_path, "workdir: ./work\n")
    assert read_configuration(path, {}).mode == "node"
    with pytest.raises(ConfigError, match="its work directory keeps addresses to join at") as caught:
        read_configuration(path, {}, standalone=True)
    assert caught.value.code == Code.NODE_ALONE and "join --forget" in str(caught.value)


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    text = "mode: client\nnode: {url: a:1, interface: 0.0.0.0}\njoin: {first: true}\nsettings: {discovery: true}\n"
    assert len(faults(tmp_path, text)) == 4


def test_a_contradiction_is_told_beside_unknown_keys(tmp_path: Path) -> None:
    found = faults(tmp_path, "mode: client\nnode: {prot: 1}\n")
    assert [fault.partition(":")[0] for fault in found] == ["site.yaml line 1", "site.yaml line 2"]


def test_a_client_and_a_standalone_node_are_not_found_by_discovery(tmp_path: Path) -> None:
    assert not read(tmp_path, CLIENT).discovery
    assert not read(tmp_path, "mode: standalone").discovery
    assert not read(tmp_path, CLIENT + "settings: {discovery: false}\nnode: {interface: localhost}").discovery


def test_a_client_is_never_the_first(tmp_path: Path) -> None:
    found = read(tmp_path, CLIENT)
    assert (found.mode, found.first, str(found.join_url)) == ("client", False, "lab:1456")


def test_a_standalone_node_is_first_and_listens_on_loopback_alone(tmp_path: Path) -> None:
    found = read(tmp_path, "mode: standalone")
    assert (found.mode, found.first) == ("standalone", True)
    assert choose_listening(found).hosts == ("127.0.0.1",)
    assert any("for learning and tests" in note for note in found.notes)


def test_a_standalone_node_has_a_work_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = write(tmp_path, "mode: standalone")
    assert read_configuration(path, {}).workdir == read_home(path, {}).workdir == tmp_path / "flotta-p2p-standalone"
    assert read_configuration(None, {}, standalone=True).workdir == tmp_path / "flotta-p2p-standalone"
    assert read_configuration(None, {}).workdir == tmp_path / "flotta-p2p"


@pytest.mark.parametrize("mode", ["node", "client", "standalone"])
def test_to_be_standalone_counts_before_the_files_own_mode(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path, f"mode: {mode}\n")
    assert read_configuration(path, {}, standalone=True).mode == "standalone"


def test_to_be_standalone_is_refused_by_a_file_that_joins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a standalone node joins nobody"):
        read_configuration(write(tmp_path, CLIENT), {}, standalone=True)


@pytest.mark.parametrize("mode", ["node", "client"])
def test_a_weak_token_is_refused_outside_of_standalone(tmp_path: Path, mode: str) -> None:
    head = CLIENT if mode == "client" else "mode: node\n"
    projects = "node: {token_projects_initial: [{name: a, token: password}]}\n"
    under_a_source = head + SOURCE % "password"  # there it may be meant as the name of a project
    for text, code in ((head + projects, Code.TOKEN_WEAK), (under_a_source, Code.PROJECT_UNKNOWN)):
        found = refusal(tmp_path, text)
        assert found.code == code and "token" in found.sentence
        assert "password" not in str(found)


def test_a_weak_token_is_taken_by_a_standalone_node(tmp_path: Path) -> None:
    projects = "node: {token_projects_initial: [{name: a, token: password}]}\n"
    found = read(tmp_path, "mode: standalone\nworkdir: work\n" + projects + SOURCE % "a, another")
    held = Projects(found)
    assert len(held.read()) == 2
    assert len(held.policy().sources["iris"].projects) == 2


def test_a_mistyped_token_is_refused_by_a_standalone_node_too(tmp_path: Path) -> None:
    text = "mode: standalone\nnode: {token_projects_initial: [{name: a, token: fp2p_abc}]}\n"
    assert refusal(tmp_path, text).code == Code.TOKEN_MALFORMED


# --- a token that stands only under a data source -------------------------------------------------


def test_a_token_that_stands_only_under_a_data_source_makes_the_node_a_member(tmp_path: Path) -> None:
    held = Projects(read(tmp_path, "workdir: work\n" + SOURCE % TOKEN_A))
    (project,) = held.read()
    assert held.names == {project.project_id: "iris"}
    assert held.policy().sources["iris"].projects == {project.project_id}


def test_a_project_that_only_a_source_knows_takes_no_name_of_another_project(tmp_path: Path) -> None:
    other = "node: {token_projects_initial: [{name: iris, token: c05f3a9e82d7146bb9e2705d1f48a3c6e7910d52}]}\n"
    held = Projects(read(tmp_path, "workdir: work\n" + other + SOURCE % TOKEN_A))
    held.read()
    assert sorted(held.names.values()) == ["", "iris"]
