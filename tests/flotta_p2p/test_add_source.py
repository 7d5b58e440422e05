"""A source is added to a configuration file as a person would: the rest of the file stays, byte for byte."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from flotta_p2p.configuration.add_source import NewSource, add_source
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.configuration.schema import Policy
from protocol.errors import Code, ConfigError
from tests.flotta_p2p.configuration_files import TOKEN_A, write
from tests.flotta_p2p.test_configuration_good import SAMPLE
from tests.users import without_privileges

PROJECT = f"node:\n  token_projects_initial:\n    - {{name: heart, token: {TOKEN_A}}}   # the study\n"
NEW = NewSource(name="vitals", type="csv", path=Path("/data/vitals.csv"), projects=("heart",))
BLOCK = ["- name: vitals", "  type: csv", "  path: /data/vitals.csv", "  token: [heart]"]
ONE = f"datasources:   # ours\n  - name: iris\n    type: csv\n    path: iris.csv\n    token: [{TOKEN_A}]  # all\n"


def block(indent: int, end: str = "\n") -> str:
    return "".join(f"{' ' * indent}{line}{end}" for line in BLOCK)


def added(folder: Path, text: str | bytes, **environ: str) -> str:
    """The file afterwards, which was read as well."""
    file = write(folder, text)
    before = read_configuration(file, environ).datasources
    found = add_source(file, NEW, environ)
    assert found.datasources == read_configuration(file, environ).datasources
    assert found.datasources[:-1] == before
    last = found.datasources[-1]
    assert (last.name, last.type, str(last.path), last.policy) == ("vitals", "csv", "/data/vitals.csv", Policy())
    return file.read_bytes().decode()


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (PROJECT, f"{PROJECT}\ndatasources:\n{block(2)}"),
        (PROJECT.rstrip("\n"), f"{PROJECT}\ndatasources:\n{block(2)}"),
        (f"{PROJECT}datasources: []  # none yet\n", f"{PROJECT}datasources:  # none yet\n{block(2)}"),
        (f"datasources:\n{PROJECT}", f"datasources:\n{block(2)}{PROJECT}"),
        (f"datasources: ~  # none\n{PROJECT}", f"datasources:  # none\n{block(2)}{PROJECT}"),
        (PROJECT + ONE, PROJECT + ONE + block(2)),
        (f"{ONE}\n# the node\n{PROJECT}", f"{ONE}{block(2)}\n# the node\n{PROJECT}"),
        (
            f"datasources:\n- {{name: iris, type: csv, path: i.csv, token: [{TOKEN_A}]}}\n\n{PROJECT}",
            f"datasources:\n- {{name: iris, type: csv, path: i.csv, token: [{TOKEN_A}]}}\n{block(0)}\n{PROJECT}",
        ),
        (
            f"{PROJECT}datasources:\n- name: a\n  type: csv\n  token: [{TOKEN_A}]\n  path: >-\n    a.csv\n",
            f"{PROJECT}datasources:\n- name: a\n  type: csv\n  token: [{TOKEN_A}]\n  path: >-\n    a.csv\n{block(0)}",
        ),
    ],
)
def test_the_block_stands_after_the_last_source_and_the_rest_stays(tmp_path: Path, text: str, after: str) -> None:
    assert added(tmp_path, text) == after


def test_the_sample_of_the_manual_keeps_its_margin_and_comments(tmp_path: Path) -> None:
    text = SAMPLE.replace("my_beautiful_project ", "heart ")
    after = added(tmp_path, text)
    token = f"      - {TOKEN_A}\n"
    place = text.rindex(token) + len(token)
    assert after == text[:place] + block(4) + text[place:]


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    text = (PROJECT + ONE).replace("\n", "\r\n")
    assert added(tmp_path, text) == text + block(2, "\r\n")


def test_variables_stay_variables(tmp_path: Path) -> None:
    text = PROJECT.replace(TOKEN_A, '"${HEART_TOKEN}"')
    assert "${HEART_TOKEN}" in added(tmp_path, text, HEART_TOKEN=TOKEN_A)


@pytest.mark.parametrize(
    "name", ["a b.csv", "it's: #1.csv", 'q"u\\ote.csv', "${HOME}.csv", "$${x}.csv", "-.csv", "ä.csv"]
)
def test_any_name_of_a_file_is_read_back_as_it_is(tmp_path: Path, name: str) -> None:
    new = NewSource(name="vitals", type="csv", path=tmp_path / name, projects=("heart",))
    found = add_source(write(tmp_path, PROJECT), new, {})
    assert found.datasources[-1].path == tmp_path / name


def test_a_file_that_does_not_exist_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config.yaml"
    new = NewSource(name="vitals", type="tsv", path=Path("/d/v.tsv"), projects=(TOKEN_A,))
    add_source(file, new, {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_mode_and_link_of_the_file_stay(tmp_path: Path) -> None:
    file = write(tmp_path, PROJECT)
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    add_source(link, NEW, {})
    assert link.is_symlink() and stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("text", "changes", "says"),
    [
        (PROJECT + ONE, {"name": "iris"}, 'has a source "iris" already'),
        (PROJECT, {"name": "no name"}, "datasources[0].name: expected a name"),
        (PROJECT, {"projects": ("stroke",)}, "this is no project of this node"),
        (f"{{datasources: [{{name: a, type: csv, path: p, token: [{TOKEN_A}]}}]}}\n", {}, "written in brackets"),
        (f"datasources: [{{name: a, type: csv, path: p, token: [{TOKEN_A}]}}]\n", {}, "written in brackets"),
        (f"{PROJECT}datasources: [\n]\n", {}, "written in brackets"),
        (f"{PROJECT}...\n", {}, ""),
        ("node: [\n", {}, "this is not YAML"),
        ("nodes: {}\n", {}, 'unknown key "nodes"'),
    ],
)
def test_what_would_be_no_valid_configuration_is_refused_and_nothing_changes(
    tmp_path: Path, text: str, changes: dict[str, Any], says: str
) -> None:
    file = write(tmp_path, text)
    new = NewSource(**{"name": "vitals", "type": "csv", "path": Path("/d.csv"), "projects": ("heart",), **changes})
    with pytest.raises(ConfigError) as caught:
        add_source(file, new, {})
    assert says in caught.value.sentence and ".new" not in str(caught.value)
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    file = write(tmp_path, PROJECT)
    tmp_path.chmod(0o555)
    try:
        with without_privileges(), pytest.raises(ConfigError) as caught:
            add_source(file, NEW, {})
    finally:
        tmp_path.chmod(0o755)
    assert (caught.value.code, bool(caught.value.next_step)) == (Code.FOLDER_UNUSABLE, True)
