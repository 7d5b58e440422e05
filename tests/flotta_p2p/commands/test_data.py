"""The holder's way from a file to an offered source, by command, without a node."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.flotta_p2p.commands.lines import Ran, run
from tests.flotta_p2p.configuration_files import TOKEN_A

pytestmark = pytest.mark.system  # tables are read by child processes
TEXT = "age,sex,name\n" + "".join(f"{30 + at},{'fm'[at % 2]},Rossi\n" for at in range(12))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "patients.csv").write_text(TEXT)
    assert run(tmp_path, "project", "new", "heart").code == 0
    return tmp_path


def default_file(folder: Path) -> Path:
    return folder / "data" / "flotta-p2p" / "config.yaml"


def add(folder: Path, *more: str, name: str = "patients", project: str = "heart") -> Ran:
    return run(folder, "data", "add", name, str(folder / "patients.csv"), "--project", project, *more)


def test_an_added_source_stands_in_the_default_file_that_every_command_reads(folder: Path) -> None:
    added = add(folder)
    assert added.code == 0 and "12 rows, 3 columns" in added.out and "Rossi" not in added.out
    written = yaml.safe_load(default_file(folder).read_text())
    assert written["datasources"] == [
        {"name": "patients", "type": "csv", "path": str(folder / "patients.csv"), "token": ["heart"]}
    ]
    (listed,) = run(folder, "data", "list", "--json").values["sources"]
    assert (listed["state"], listed["projects"], listed["rows"]) == ("not open", ["heart"], None)
    shown = run(folder, "data", "show", "patients")
    assert "any member of the projects" in shown.out and "fewer than 10 rows" in shown.out
    assert add(folder, name="again").code == 0
    assert [one["name"] for one in run(folder, "data", "list", "--json").values["sources"]] == ["patients", "again"]


def test_a_source_is_added_to_the_file_that_is_named_and_the_rest_of_it_stays(folder: Path) -> None:
    site = folder / "site.yaml"
    text = "# ours\nnode: {name: north}  # the ward\n"
    site.write_text(text)
    assert add(folder, "-c", str(site)).code == 0
    assert site.read_text().startswith(text) and not default_file(folder).exists()
    assert "patients" in run(folder, "data", "list", "-c", str(site)).out
    assert "No source is configured" in run(folder, "data", "list").out


def test_a_table_that_cannot_be_read_is_not_added(folder: Path) -> None:
    (folder / "patients.csv").write_text("age,sex\n1\n")
    assert "1 field too few in line 2" in add(folder).refused(8)
    assert not default_file(folder).exists()


def test_an_unknown_project_is_refused_without_repeating_what_may_be_a_token(folder: Path) -> None:
    line = add(folder, project=TOKEN_A).refused(5)
    assert "it knows heart" in line and TOKEN_A not in line
    assert not default_file(folder).exists()


def test_a_name_that_is_taken_or_no_name_is_refused(folder: Path) -> None:
    assert add(folder).code == 0
    before = default_file(folder).read_bytes()
    assert 'has a source "patients" already' in add(folder).refused(3)
    refused = add(folder, name="no name").refused(3)
    assert "expected a name" in refused and "nothing was written" in refused and ".new" not in refused
    assert default_file(folder).read_bytes() == before


def test_a_check_tells_columns_rows_and_missing_values_and_no_value(folder: Path) -> None:
    values = run(folder, "data", "check", str(folder / "patients.csv"), "--json").values
    assert (values["rows"], values["problems"]) == (12, [])
    assert values["columns"][0] == {"name": "age", "type": "number", "missing": 0}
    checked = run(folder, "data", "check", str(folder / "patients.csv"))
    assert "Nothing is wrong with it." in checked.out and "Rossi" not in checked.out


def test_a_check_of_a_source_tells_the_holder_which_names_of_its_policy_are_wrong(folder: Path) -> None:
    assert add(folder).code == 0
    file = default_file(folder)
    file.write_text(file.read_text() + "    policy: {hidden: [Name]}\n")
    checked = run(folder, "data", "check", "patients")
    assert checked.code == 8 and 'WRONG: policy.hidden or policy.numeric_only names the column "Name"' in checked.out
    shown = run(folder, "data", "show", "patients")
    assert "see no column of it" in shown.out and "WRONG: policy.hidden or policy.numeric_only names the" in shown.out
    values = run(folder, "data", "show", "patients", "--json").values
    assert values["published"] == [] and values["problems"][0]["code"] == "source-policy-unfit"
    file.write_text(file.read_text().replace("Name", "name"))
    assert run(folder, "data", "check", "patients").code == 0
    published = run(folder, "data", "show", "patients", "--json").values["published"]
    assert [one["name"] for one in published] == ["age", "sex"]


def test_a_source_whose_file_is_gone_is_listed_and_shown_as_gone(folder: Path) -> None:
    assert add(folder).code == 0
    (folder / "patients.csv").unlink()
    (listed,) = run(folder, "data", "list", "--json").values["sources"]
    assert (listed["state"], bool(listed["next_step"])) == ("gone", True)
    shown = run(folder, "data", "show", "patients")
    assert shown.code == 0 and "It cannot be read" in shown.out
    assert "no such file" in run(folder, "data", "check", "patients").refused(8)


@pytest.mark.parametrize("words", [("show", "none"), ("list", "--to", "127.0.0.1"), ("list", "--project", "heart")])
def test_what_cannot_be_answered_says_why(folder: Path, words: tuple[str, ...]) -> None:
    assert run(folder, "data", *words).refused(8 if words[0] == "show" else 2)


def test_the_sources_of_the_network_need_a_node(folder: Path) -> None:
    assert "no node" in run(folder, "data", "list", "--network").refused(4).lower()
