"""Whatever stands in the file, reading it gives a configuration or the one error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.configuration.schema import Configuration
from protocol.errors import ConfigError
from tests.flotta_p2p.test_configuration_good import SAMPLE

KEYS = st.sampled_from(
    [
        "workdir",
        "mode",
        "node",
        "name",
        "port",
        "join",
        "first",
        "url",
        "datasources",
        "token",
        "policy",
        "columns",
        "database",
        "host",
        "x",
    ]
)
WORDS = st.sampled_from(
    [
        "node",
        "1",
        "1456",
        "true",
        "no",
        "~",
        "''",
        "${A}",
        "${B}",
        "$${",
        "any",
        "a:1",
        "[]",
        "{}",
        "1e3",
        "&a",
        "*a",
        "!!int",
        "|",
        ">",
        "-",
        "?",
        "@",
        "%",
        "`",
        '"',
        "'",
    ]
)
LINES = st.builds(
    lambda indent, dash, key, word: f"{' ' * indent}{'- ' * dash}{key}: {word}",
    st.integers(0, 4),
    st.integers(0, 2),
    KEYS,
    WORDS,
)
FRAGMENTS = st.one_of(LINES, WORDS, KEYS, st.text(max_size=8))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "site.yaml"


def give(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        found = read_configuration(file, {"A": "text\ud800"})
    except ConfigError as error:
        assert "site.yaml" in error.sentence
    else:
        assert isinstance(found, Configuration)


@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_configuration_or_the_one_error(file: Path, data: bytes) -> None:
    give(file, data)


@settings(max_examples=300)
@given(text=st.text(max_size=200))
def test_any_text_gives_a_configuration_or_the_one_error(file: Path, text: str) -> None:
    give(file, text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(fragments=st.lists(FRAGMENTS, max_size=12))
def test_anything_that_looks_like_a_configuration_gives_one_or_the_one_error(file: Path, fragments: list[str]) -> None:
    give(file, "\n".join(fragments).encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(start=st.integers(0, len(SAMPLE)), length=st.integers(0, 40), fragment=FRAGMENTS)
def test_a_damaged_sample_gives_a_configuration_or_the_one_error(
    file: Path, start: int, length: int, fragment: str
) -> None:
    give(file, (SAMPLE[:start] + fragment + SAMPLE[start + length :]).encode("utf-8", "surrogatepass"))
