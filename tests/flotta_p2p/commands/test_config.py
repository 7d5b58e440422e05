"""`config`: a file is written, checked and shown before a node starts from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flotta_p2p.configuration.template import PROJECT
from tests.flotta_p2p.commands.lines import run
from tests.flotta_p2p.configuration_files import TOKEN_A, TOKEN_B, write
from tests.flotta_p2p.test_configuration_good import SAMPLE

PERSON = "geheim-4711"
FULL = SAMPLE.replace('password: ""', f"password: {PERSON}") + "\n  settings: {policy: {minimum_cohort: 30}}\n"


def test_a_new_file_is_closed_to_others_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    made = run(tmp_path, "config", "init", str(file))
    assert made.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("mine")
    assert "exists already" in run(tmp_path, "config", "init", str(file)).refused(2)
    assert file.read_text() == "mine"


def test_a_file_is_not_written_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be written" in run(tmp_path, "config", "init", str(tmp_path / "none" / "site.yaml")).refused(2)


def test_without_a_name_the_file_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, "config", "init", "--json").values == {"file": "site.yaml"}
    assert (tmp_path / "site.yaml").exists()


def test_what_init_tells_to_do_next_makes_its_file_sound(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    run(tmp_path, "config", "init", str(file))
    assert f'"{PROJECT}"' not in run(tmp_path, "config", "check", str(file)).refused(3)
    assert run(tmp_path, "project", "new", PROJECT, "-c", str(file)).code == 0
    assert "is sound: mode node" in run(tmp_path, "config", "check", str(file)).out


def test_a_sound_file_is_called_so_with_its_notes(tmp_path: Path) -> None:
    file = write(tmp_path, SAMPLE + "\n  settings: {}\n")
    checked = run(tmp_path, "config", "check", str(file))
    assert checked.out == f"{file} is sound: mode node, name flottaNode, 1 project, 1 data source.\n"
    values = run(tmp_path, "config", "check", str(file), "--json").values
    assert (values["projects"], values["sources"], values["notes"]) == (["my_beautiful_project"], ["iris"], [])
    file.write_text("mode: standalone\n")
    assert "for learning and tests" in run(tmp_path, "config", "check", str(file)).out


def test_all_faults_are_told_at_once_with_one_next_step(tmp_path: Path) -> None:
    file = write(tmp_path, "mode: server\nnode:\n  port: 0\n  nme: x\n")
    checked = run(tmp_path, "config", "check", str(file))
    assert checked.code == 3
    lines = checked.err.splitlines()
    assert [line.partition("site.yaml ")[2].partition(":")[0] for line in lines[:3]] == ["line 1", "line 3", "line 4"]
    assert lines[3] == f"Next: mend the file, then `flotta-p2p config check {file}` [config-value-wrong]"
    error = run(tmp_path, "config", "check", str(file), "--json").values["error"]
    assert error["sentence"].count("\n") == 2


def test_the_effective_configuration_is_a_file_without_secrets_that_says_where_each_value_is_from(
    tmp_path: Path,
) -> None:
    text = FULL.replace(f"- {TOKEN_A}", f"- {TOKEN_A}\n      - {TOKEN_B}")
    shown = run(tmp_path, "config", "show", str(write(tmp_path, text)))
    assert shown.code == 0, shown.err
    for secret in (TOKEN_A, TOKEN_B, PERSON):
        assert secret not in shown.out
    values = yaml.safe_load(shown.out)
    assert values["node"]["token_projects_initial"] == [{"name": "my_beautiful_project", "token": "***"}]
    assert values["datasources"][0]["token"] == ["my_beautiful_project", "***"]
    assert values["database"]["password"] == "***"
    lines = [line.strip() for line in shown.out.splitlines()]
    assert "port: 1456" in lines
    assert 'url: ""  # default: its own addresses' in lines
    assert "minimum_cohort: 30  # settings.policy.minimum_cohort" in lines
    assert "minimum_cohort: 30" in lines
    assert "minimum_cell: 5  # default" in lines
    assert "discovery: true  # default" in lines


def test_the_effective_configuration_reads_as_the_same_configuration(tmp_path: Path) -> None:
    text = f"workdir: '$${{odd}} #name'\ndatasources: [{{name: no, type: csv, path: 'a: b.csv', token: [{TOKEN_A}]}}]\n"
    file = write(tmp_path, text)
    shown = run(tmp_path, "config", "show", str(file)).out
    file.write_text(shown.replace('"***"', TOKEN_A))
    again = run(tmp_path, "config", "show", str(file)).out
    assert [line.partition("  # ")[0] for line in again.splitlines()] == [
        line.partition("  # ")[0] for line in shown.splitlines()
    ]


def test_without_a_file_the_defaults_are_shown(tmp_path: Path) -> None:
    values = run(tmp_path, "config", "show", "--json").values
    assert values["configuration"]["node"]["port"] == 1456
    assert values["configuration"]["settings"]["discovery"] is True
    assert {"node.port", "mode", "settings.policy.columns"} <= set(values["defaults"])


def test_the_effective_configuration_as_json_has_no_secret(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", "show", str(write(tmp_path, FULL)), "--json")
    assert TOKEN_A not in shown.out and PERSON not in shown.out
    assert "node.port" not in shown.values["defaults"]


def test_the_json_schema_is_one_json_document(tmp_path: Path) -> None:
    plain, as_json = (run(tmp_path, "config", "schema", *more) for more in ((), ("--json",)))
    assert json.loads(plain.out) == as_json.values
    assert "datasources" in as_json.values["properties"]
