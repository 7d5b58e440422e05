"""The one reader of YAML, for readers with and without a schema, and with either parser."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flotta_p2p import safe_yaml
from flotta_p2p.faults import Faults
from flotta_p2p.safe_yaml import load, plain_value
from protocol.errors import ConfigError
from protocol.limits import CONFIG_BYTES_MAX
from tests.flotta_p2p.test_configuration_good import SAMPLE


def value_of(text: str) -> Any:
    faults = Faults("the file")
    tree = load(text.encode(), faults)
    faults.raise_if_any()
    return plain_value(tree)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("''", ""),
        # what other readers of YAML take for numbers, booleans and dates
        ("007", "007"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        (".inf", ".inf"),
        ("9" * 400, "9" * 400),
    ],
)
def test_without_a_schema_only_what_json_has_is_more_than_text(text: str, value: object) -> None:
    found = value_of(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_lists_and_keys_are_nested_values() -> None:
    assert value_of("a: [1, {b: x}]\nc: {}\n") == {"a": [1, {"b": "x"}], "c": {}}


def test_the_parser_in_python_gives_the_same_tree_and_refuses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [load(SAMPLE.encode(), Faults("the file"))]
    monkeypatch.setattr(safe_yaml, "_PARSER", yaml.SafeLoader)
    trees.append(load(SAMPLE.encode(), Faults("the file")))
    assert trees[0] == trees[1]
    for text in ("a: *b", "a: &b 1", "a: !!int 1", "a: 1\na: 2", "[" * 1_000, "a: [1", "a: \x07", "a\tb: c: d"):
        with pytest.raises(ConfigError, match=r"^the file line \d+: "):
            value_of(text)


def test_the_fast_parser_is_used_where_there_is_one() -> None:
    assert yaml.__with_libyaml__
    assert safe_yaml._PARSER is yaml.CSafeLoader


def test_a_file_of_the_largest_size_is_read() -> None:
    text = "a:\n" + "- b: [1, c]\n" * (CONFIG_BYTES_MAX // 12 - 1)
    assert len(value_of(text)["a"]) > 20_000
