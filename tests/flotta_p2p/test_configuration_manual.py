"""The manual, the file of `config init` and the JSON Schema say the same of every key, and it is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from actors.adapters.token_files import add_project
from flotta_p2p.configuration.json_schema import json_schema
from flotta_p2p.configuration.keys import all_keys, keys_of
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf
from flotta_p2p.configuration.template import PROJECT, template
from protocol.secret_text import SecretText
from tests.flotta_p2p.configuration_files import TOKEN_A, read
from tests.flotta_p2p.test_configuration_good import SAMPLE

MANUAL = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)
VARIABLES = {"HEART_STUDY_TOKEN": TOKEN_A, "DATABASE_PASSWORD": "geheim", "PROXY_PASSWORD": "geheim"}
SCHEMA = jsonschema.Draft202012Validator(json_schema())


def heading_keys() -> set[str]:
    """Parts of the file have headings in the manual instead of rows."""
    return {name for name, key in keys_of(Document).items() if isinstance(key.shape, type)}


def test_every_key_says_what_it_means_and_shows_an_example_unless_it_is_a_word_of_its_own() -> None:
    for path, key in all_keys(Document):
        assert key.about.meaning, path
        assert "|" not in key.about.meaning + key.about.default + key.about.example, f"{path}: no cell of a table"
        assert not key.about.meaning.endswith("."), path


def test_the_manual_has_a_row_for_each_key_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_.\[\]]+)` \|.*\|.*\|.*\|$", MANUAL, re.MULTILINE)
    assert sorted(rows) == sorted({path for path, _ in all_keys(Document)} - heading_keys())


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_manual_are_valid(tmp_path: Path, example: str) -> None:
    found = read(tmp_path, example, VARIABLES)
    assert found.datasources[0].token[0].reveal() == TOKEN_A
    SCHEMA.validate(yaml.safe_load(example))


# --- config init -------------------------------------------------------------------------------


def test_the_file_of_init_has_every_key_of_the_schema() -> None:
    names = re.findall(r"^ *#?(?:- )?([a-z_]+):", template(), re.MULTILINE)
    assert sorted(names) == sorted(path.rpartition(".")[2] for path, _ in all_keys(Document))


def test_the_file_of_init_is_valid_once_its_project_is_made(tmp_path: Path) -> None:
    add_project(tmp_path / "work", PROJECT, SecretText(TOKEN_A))
    found = read(tmp_path, template().replace("#workdir: ./storage", "workdir: ./work"))
    assert [source.token[0].reveal() for source in found.datasources] == [TOKEN_A]
    assert found.given == {
        "workdir",
        "datasources",
        "datasources[0]",
        *(f"datasources[0].{name}" for name in ("name", "type", "path", "token", "token[0]")),
        "settings",  # it holds an empty policy
    }


def test_every_example_of_the_file_of_init_is_valid(tmp_path: Path) -> None:
    found = read(tmp_path, template(every_key=True), VARIABLES)
    given = {re.sub(r"\[\d+\]", "[]", path) for path in found.given}
    assert {path for path, _ in all_keys(Document)} <= given
    SCHEMA.validate(yaml.safe_load(template(every_key=True)))


def test_to_use_a_key_of_the_file_of_init_one_mark_is_removed() -> None:
    assert re.sub(r"^( *)#(?=\S)", r"\1", template(), flags=re.MULTILINE) == re.sub(
        r"^( *)#(?=\S)", r"\1", template(every_key=True), flags=re.MULTILINE
    )


# --- JSON Schema -------------------------------------------------------------------------------


def at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The part of the JSON Schema about one key."""
    for name in path.replace("[]", ".[]").split("."):
        found = [way for way in (schema, *schema.get("anyOf", [])) if "properties" in way or "items" in way]
        schema = found[0]["items"] if name == "[]" else found[0]["properties"][name]
    return schema


def test_the_json_schema_is_one_and_explains_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    for path, key in all_keys(Document):
        assert at(json_schema(), path)["description"].startswith(key.about.meaning)


@pytest.mark.parametrize("text", [SAMPLE, template(), "{}", "node: {port: '1500', name: no}\njoin: {url: '${URL}'}"])
def test_the_json_schema_takes_what_a_node_takes(text: str) -> None:
    SCHEMA.validate(yaml.safe_load(text))


def test_the_json_schema_refuses_an_unknown_key_everywhere_and_a_map_in_place_of_a_value() -> None:
    for path, key in all_keys(Document):
        part = at(json_schema(), path)
        wrong: Any = [{"zzz": 1}] if isinstance(key.shape, ListOf) else {"zzz": 1}
        validator = jsonschema.Draft202012Validator({**part, "$defs": json_schema()["$defs"]})
        assert not validator.is_valid(wrong), path
