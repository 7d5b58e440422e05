"""Every key of the schema with every kind of wrong value. A new key is covered by itself: the matrix is made from the
shapes, and a file from the examples of all keys stands around the wrong value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from flotta_p2p.configuration.keys import all_keys, keys_of
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf, Section, Shape, Value
from protocol.errors import ConfigError
from protocol.limits import CONFIG_DEPTH_MAX, CONFIG_VALUE_CHARS_MAX
from tests.flotta_p2p.commands.lines import run
from tests.flotta_p2p.configuration_files import TOKEN_A

HERE: Final = "HERE"  # where the wrong value comes to stand
SECRET: Final = "geheim-4711"
VARIABLES: Final = {"HEART_STUDY_TOKEN": TOKEN_A, "DATABASE_PASSWORD": SECRET, "PROXY_PASSWORD": "geheim"}
# What no key takes, whatever its shape, and what is said of it.
ANYWHERE: Final = {
    "an alias": ("*other", "the alias *other is not allowed"),
    "an anchor": ("&other x", "the anchor &other is not allowed"),
    "a tag": ('!!python/object/apply:os.system ["true"]', "is not allowed; remove it"),
    "deep nesting": ("[" * (CONFIG_DEPTH_MAX + 1) + "]" * (CONFIG_DEPTH_MAX + 1), "nested deeper than"),
    "a huge value": (f'"{"x" * (CONFIG_VALUE_CHARS_MAX + 1)}"', f"longer than {CONFIG_VALUE_CHARS_MAX} characters"),
    "an unset variable": ('"${NOBODY_SETS_THIS}"', "the environment variable NOBODY_SETS_THIS is not set"),
    "half a variable": ('"${"', "is not followed by a name"),
    "a control character": ("a\x07b", "the control character U+0007 is not allowed"),
    "an unknown key": (f'{{"zzz": "{SECRET}"}}', ""),
    "a key twice": ('{"a": 1, "a": 1}', "stands already on line"),
}
SCALAR: Final = {
    "a list": (f'["{SECRET}"]', "saw a list"),
    "an escaped control character": (f'"{SECRET}\\u0007"', ""),
    "half a character": (f'"{SECRET}\\ud800"', ""),
    "a group of keys": (f'{{"a": "{SECRET}"}}', "saw a group of keys"),
}


def wrong_words(shape: Value) -> Iterator[str]:
    """What this one may not be, told by what the JSON Schema says of it."""
    for way in (shape.json, *shape.json.get("anyOf", ())):
        if "minimum" in way:
            yield from (
                str(way["minimum"] - 1),
                str(way["maximum"] + 1),
                "-1",
                "1e3",
                "0x10",
                "many",
                ".inf",
                ".nan",
                "²",
            )
        if "enum" in way:
            yield from ("zzz", "1", "yes", f"{way['enum'][0]}-x")
        if "pattern" in way and "minimum" not in shape.json.get("anyOf", [{}])[0]:
            yield from ("a b", "-a", "a/b", "ü", "x" * 65)


def wrong_values(shape: Shape) -> dict[str, tuple[str, str]]:
    """Name → YAML and what the refusal says among other things."""
    match shape:
        case Value():
            words = {f"the word {word[:8]}": (json.dumps(word), "expected ") for word in wrong_words(shape)}
            return {**ANYWHERE, **SCALAR, **words}
        case ListOf(item=item, least=least, most=most):
            items = {f"in the list {name}": (f"[{text}]", said) for name, (text, said) in wrong_values(item).items()}
            counts = {"too many": (f"[{', '.join(['x'] * (most + 1))}]", f"to {most} entries, saw {most + 1}")}
            empty = {"an empty list": ("[]", f"expected {least} to ")} if least else {}
            return {**ANYWHERE, "one value": (f'"{SECRET}"', "expected "), **counts, **empty, **items}
        case _:
            return {**ANYWHERE, "one value": (f'"{SECRET}"', "expected the keys "), "a list": ("[]", "saw a list")}


def document(wrong: str) -> Any:
    """A file with the example of every key as values for JSON; HERE stands at the key `wrong`."""
    return _group(Document, "", wrong)


def _group(kind: type[Section], around: str, wrong: str) -> dict[str, Any]:
    return {name: _value(key.shape, f"{around}{name}", key.about.example, wrong) for name, key in keys_of(kind).items()}


def _value(shape: Shape, path: str, example: str, wrong: str) -> Any:
    if path == wrong:
        return HERE
    match shape:
        case ListOf(item=type() as item):
            return [_group(item, f"{path}[].", wrong)]
        case ListOf(word=word):
            return example.strip("[]").split(", ") if example != word else word
        case type() as group:
            return _group(group, f"{path}.", wrong)
        case _:
            return example


KEYS: Final = dict(all_keys(Document))


def file_with(folder: Path, path: str, text: str) -> tuple[Path, int]:
    """The file, and the line on which the wrong value stands."""
    around = json.dumps(document(path), indent=1)
    line = around[: around.index(f'"{HERE}"')].count("\n") + 1
    file = folder / "site.yaml"
    file.write_text(around.replace(f'"{HERE}"', text), encoding="utf-8")
    return file, line


def test_the_file_around_the_wrong_value_is_sound(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(json.dumps(document(""), indent=1))
    assert read_configuration(file, VARIABLES).datasources[0].name == "admissions"


@pytest.mark.parametrize("path", KEYS)
def test_every_wrong_value_of_a_key_is_refused_with_its_line_and_what_was_expected(tmp_path: Path, path: str) -> None:
    for name, (text, said) in wrong_values(KEYS[path].shape).items():
        file, line = file_with(tmp_path, path, text)
        with pytest.raises(ConfigError) as caught:
            read_configuration(file, VARIABLES)
            pytest.fail(f"{name} was taken: {text[:80]}")
        check_refusal(caught.value, file, line, said)
        if is_secret(path):
            assert SECRET not in str(caught.value), name
        assert list(tmp_path.iterdir()) == [file], "nothing was started or made"


def check_refusal(error: ConfigError, file: Path, line: int, said: str) -> None:
    """Every fault has its place, and one of them is the wrong value's."""
    faults = error.sentence.splitlines()
    told = [re.fullmatch(rf"{re.escape(str(file))} line (\d+): (.+)", fault) for fault in faults]
    assert all(told), faults
    assert any(one and int(one[1]) == line and said in one[2] for one in told), (line, said, faults)
    assert f"config check {file}" in error.next_step
    assert TOKEN_A not in str(error)


def is_secret(path: str) -> bool:
    shape = KEYS[path].shape
    value = shape.item if isinstance(shape, ListOf) else shape
    return isinstance(value, Value) and value.secret


@pytest.mark.parametrize("path", KEYS)
def test_no_key_is_without_wrong_values_of_its_own(path: str) -> None:
    assert len(wrong_values(KEYS[path].shape)) > len(ANYWHERE)


@pytest.mark.parametrize("command", [("up", "-c"), ("config", "check"), ("config", "show"), ("status", "-c")])
def test_every_command_refuses_a_wrong_file_in_one_way(tmp_path: Path, command: tuple[str, ...]) -> None:
    file, line = file_with(tmp_path, "node.port", '"0"')
    ran = run(tmp_path, *command, str(file), environment=dict(VARIABLES))
    assert f"site.yaml line {line}: node.port: expected a whole number from 1 to 65535" in ran.refused(3)
    assert list(tmp_path.iterdir()) == [file], "nothing was started or made"
