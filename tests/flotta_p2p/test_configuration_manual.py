from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flotta_p2p.configuration.convert import shapes_of
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf, Section
from tests.flotta_p2p.configuration_files import TOKEN_A, read

MANUAL = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def keys_of(kind: type[Section], around: str = "") -> Iterator[str]:
    """Each key of the schema as the manual writes it; groups of keys, lists apart, have headings instead of rows."""
    for name, shape in shapes_of(kind).items():
        path = f"{around}{name}"
        if isinstance(shape, ListOf):
            yield path
            if isinstance(shape.item, type):
                yield from keys_of(shape.item, f"{path}[].")
        elif isinstance(shape, type):
            yield from keys_of(shape, f"{path}.")
        else:
            yield path


def test_the_manual_has_a_row_for_each_key_and_no_other() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", MANUAL, re.MULTILINE)
    groups = {"datasources[].policy"}
    assert sorted(set(rows) - groups) == sorted(keys_of(Document))
    assert len(rows) == len(set(rows))


def test_the_example_of_the_manual_is_valid(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)
    assert example is not None
    found = read(tmp_path, example[1], {"HEART_STUDY_TOKEN": TOKEN_A})
    assert found.datasources[0].token[0].reveal() == TOKEN_A
