"""Each code of an error has a page that helps, and each page and code is of use."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from flotta_p2p import error_pages
from flotta_p2p.commands.main import cli
from protocol.errors import Code

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "errors"
SECTIONS = ["You see", "Causes", "Do", "Whose it is", "Related"]
PAGE_LINES_MAX = 45
CODES = [code.value for code in Code]
# The check of the sister packages cannot import the tree of errors, which may be the very package in question.
SPELLED_OUT = {Code.SHADOWED_PACKAGE: ROOT / "flotta_p2p" / "__init__.py"}

_COMMAND = re.compile(r"`flotta-p2p ([^`]+)`")


def text_of(code: str) -> str:
    path = PAGES / f"{code}.md"
    assert path.exists(), f"docs/errors/{code}.md is missing; docs/errors/index.md begins with a template"
    return path.read_text("utf-8")


def sources() -> str:
    packages = ("protocol", "actors", "flame", "flotta_p2p")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    return "\n".join(path.read_text("utf-8") for path in files if path != ROOT / "protocol" / "errors.py")


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_page_with_all_its_parts(code: str) -> None:
    text = text_of(code)
    title, meaning, *_ = text.split("\n\n")
    assert title == f"# {code}"
    assert meaning.endswith(".") and "\n" not in meaning
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    parts = re.split(r"^## .+\n", text, flags=re.MULTILINE)[1:]
    assert all(len(part.strip()) > 4 for part in parts)
    assert all(line.startswith("- ") for part in parts[1:3] for line in part.strip().splitlines())
    assert len(text.splitlines()) <= PAGE_LINES_MAX


def test_every_page_belongs_to_a_code() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted([*CODES, "index"])


def test_the_index_has_a_row_for_each_code_with_the_meaning_of_its_page() -> None:
    rows = re.findall(r"^\| \[([a-z-]+)\]\(\1\.md\) \| (.+) \|$", text_of("index"), re.MULTILINE)
    assert sorted(code for code, _ in rows) == sorted(CODES)
    assert dict(rows) == error_pages.meanings()


@pytest.mark.parametrize("code", CODES)
def test_what_a_page_tells_to_type_exists(code: str) -> None:
    for line in _COMMAND.findall(text_of(code)):
        assert unknown_words(line) == [], f"`flotta-p2p {line}`"


def unknown_words(line: str) -> list[str]:
    """The subcommand or options of a command line that the program does not have."""
    words = line.split()
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    known = {option for one in command.params for option in one.opts} | {"--help"}
    return [word for word in words if re.match(r"--?[a-z]", word) and word not in known]


def test_the_check_of_commands_finds_what_does_not_exist() -> None:
    assert unknown_words("job shw x") == ["shw"]
    assert unknown_words("submit --colums age") == ["--colums"]
    assert unknown_words("--version") == []


@pytest.mark.parametrize("code", list(Code))
def test_every_code_is_given_somewhere(code: Code) -> None:
    if code in SPELLED_OUT:
        assert f'"{code.value}"' in SPELLED_OUT[code].read_text("utf-8")
    else:
        assert re.search(rf"\bCode\.{code.name}\b", sources()), f"nothing gives {code.value}: take it out"


@pytest.mark.parametrize("code", CODES)
def test_a_line_that_a_page_shows_ends_with_its_code(code: str) -> None:
    seen = re.search(r"^```text\n(.*?)^```", text_of(code), re.MULTILINE | re.DOTALL)
    assert seen is not None
    for line in seen[1].splitlines():
        if line.startswith("flotta-p2p: "):
            assert line.endswith(f"[{code}]")
        elif line.startswith("WARNING "):
            assert line.startswith(f"WARNING refused, {code}: ")


def test_a_page_reads_in_a_terminal_without_the_marks_of_links_and_fences() -> None:
    text = error_pages.page("[port-taken]")
    assert "```" not in text
    assert "](" not in text
    assert "    flotta-p2p: port 1456 on 127.0.0.1 is in use" in text
    assert "folder-locked" in text
