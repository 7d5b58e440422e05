"""The parameters file: the user's values stay, missing ones are added, and what does not read is never written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from flame.authoring import parameters
from flame.authoring.faults import WorkflowFaults
from flame.authoring.parameters import healed, read, write
from flame.ports import InputPort
from flame.types.portable import load
from protocol.errors import Code

RATE = InputPort("rate", "state", "float", "MHz", "samples")
POINTS = InputPort("points", "state", "int")
TARGET = InputPort("target", "state", "float | None")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "parameters.json"
    path.write_text(text, encoding="utf-8")
    return path


def heal(path: Path, inputs: dict[str, list[InputPort]], missing: dict[str, list[InputPort]]) -> Any:
    file = read(path)
    write(path, healed(file, inputs, missing))
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": {"b": 1,}}', "line 1, column "),
        ('{"a": {"b": 1}\n "c": {}}', "line 2, column 2: "),
        ('{"a": {\n"b": }}', "line 2, column 6: "),
        ("", "it is empty"),
        ("{", "line 1, column 2: "),
        ("[]", "it is no map of flame nodes"),
        ("3", "it is no map of flame nodes"),
        ('{"a": 3}', "'a' is no map of inputs"),
        ('{"a": {"b": 1, "b": 2}}', "'b' is given twice"),
        ('{"a": {}, "a": {}}', "'a' is given twice"),
        ('{"a": {"b": 1e999}}', "1e999 is too large for a float"),
        ('{"_unused": {"a": 3}}', "'a' is no map of inputs"),
        ("[" * 100_000, "parameters.json"),
        (f'{{"a": {{"b": {"1" * 5_000}}}}}', "too many digits"),
    ],
)
def test_bug_15_a_file_that_does_not_read_is_told_with_its_place_and_left_alone(
    tmp_path: Path, text: str, told: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(WorkflowFaults) as caught:
        read(path)
    assert caught.value.code == Code.PARAMETERS_MALFORMED
    assert told in str(caught.value)
    assert path.read_text("utf-8") == text


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    path.write_bytes(b'{\n"a": {"b": "\xff"}}')
    with pytest.raises(WorkflowFaults, match=r"line 2: it is not UTF-8"):
        read(path)


def test_a_file_that_need_not_be_there_has_no_values(tmp_path: Path) -> None:
    assert read(tmp_path / "parameters.json").values == {}
    with pytest.raises(WorkflowFaults, match="does not exist"):
        read(tmp_path / "parameters.json", required=True)


def test_an_editor_of_another_system_may_have_put_a_mark_in_front(tmp_path: Path) -> None:
    assert read(written(tmp_path, '\ufeff{"a": {"b": 1}}')).values == {"a": {"b": 1}}


def test_floats_that_json_has_not_are_read_in_both_spellings(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": {"x": NaN, "y": -Infinity, "z": {"$float": "inf"}}}')
    values = {name: load(held) for name, held in read(path).values["a"].items()}
    assert math.isnan(values["x"])
    assert (values["y"], values["z"]) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("held", "port", "given"),
    [
        ("null", POINTS, None),
        ("null", TARGET, (None,)),
        ('{"$missing": "int"}', POINTS, None),
        ('{"$missing": "float"}', TARGET, None),
        ("3", POINTS, (3,)),
        ('"#/j41/a/b"', POINTS, ("#/j41/a/b",)),
    ],
)
def test_null_is_a_value_where_the_type_allows_it(
    tmp_path: Path, held: str, port: InputPort, given: tuple[Any] | None
) -> None:
    file = read(written(tmp_path, f'{{"a": {{"{port.name}": {held}}}}}'))
    assert file.given("a", port) == given


def test_an_address_is_marked_so_that_no_text_is_taken_for_one(tmp_path: Path) -> None:
    values = read(written(tmp_path, '{"a": {"x": {"$eui": "#/last/b/c"}, "y": "#/last/b/c"}}')).values["a"]
    assert [parameters.address_of(values[name]) for name in ("x", "y")] == ["#/last/b/c", None]


def test_a_new_parameter_is_added_as_missing_and_told_what_it_takes(tmp_path: Path) -> None:
    path = written(tmp_path, '{"scan": {"points": 3}}')
    found = heal(path, {"scan": [POINTS, RATE]}, {"scan": [RATE]})
    assert found == {"scan": {"points": 3, "rate": {"$missing": "state float in MHz: samples"}}}
    assert read(path).given("scan", RATE) is None


def test_values_of_the_user_stay_as_they_were_written(tmp_path: Path) -> None:
    text = '{"scan": {"points": {"$dict": [[1, 2]]}, "rate": {"$float": "nan"}, "target": null}}'
    found = heal(written(tmp_path, text), {"scan": [POINTS, RATE, TARGET]}, {})
    assert found == json.loads(text)


def test_what_belongs_to_no_parameter_is_put_aside_and_comes_back(tmp_path: Path) -> None:
    path = written(tmp_path, '{"scan": {"points": 3, "rate": 2.5}, "old": {"x": [1]}}')
    found = heal(path, {"scan": [POINTS]}, {})
    assert found == {"scan": {"points": 3}, "_unused": {"scan": {"rate": 2.5}, "old": {"x": [1]}}}
    found = heal(path, {"scan": [POINTS, RATE]}, {})  # a default would be there, but the user chose another value
    assert found == {"scan": {"points": 3, "rate": 2.5}, "_unused": {"old": {"x": [1]}}}


def test_a_mark_of_a_missing_value_is_not_put_aside(tmp_path: Path) -> None:
    path = written(tmp_path, '{"scan": {"points": {"$missing": "int"}, "rate": null}}')
    assert heal(path, {}, {}) == {}


def test_a_file_that_says_so_already_is_not_written(tmp_path: Path) -> None:
    path = written(tmp_path, '{ "scan":{"points":3}}')
    assert not write(path, {"scan": {"points": 3}})
    assert path.read_text() == '{ "scan":{"points":3}}'


def test_half_a_character_of_the_user_stays(tmp_path: Path) -> None:
    path = written(tmp_path, '{"old": {"x": "\\ud800 é"}}')
    assert heal(path, {}, {}) == {"_unused": {"old": {"x": "\ud800 é"}}}


def test_no_file_is_made_for_no_values(tmp_path: Path) -> None:
    assert not write(tmp_path / "parameters.json", {})
    assert not list(tmp_path.iterdir())


def test_the_line_of_a_value_is_found(tmp_path: Path) -> None:
    file = read(written(tmp_path, '{\n "a": {"rate": 1},\n "b": {\n  "rate": 2}\n}'))
    assert file.place("a", "rate").endswith("parameters.json, line 2")
    assert file.place("b", "rate").endswith("parameters.json, line 4")
    assert file.place("b").endswith("parameters.json, line 3")
