"""The documents tell the truth about the repository, as far as a program can see."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from protocol.wire.registry import MESSAGES

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
SECTIONS = ["Status", "Context", "Options", "Decision", "Consequences"]
DECISION_LINES_MAX = 60
MARKED = {"docs/architecture.md": "transitions", "docs/protocol.md": "messages"}

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Folders of one person's machine. What every Linux has, or a variable, may stand in a document.
_MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:home|Users|root|work|tmp)/|\b[A-Z]:\\")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as the usual viewers make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text("utf-8"))):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def make_targets() -> dict[str, str]:
    """Each target that a person may call, with its line of the Makefile."""
    makefile = text_of("Makefile")
    phony = re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    names = [name for line in phony for name in line.split()]
    return {name: line for name in names for line in re.findall(rf"^{name}:.*$", makefile, re.MULTILINE)}


def glossary_words() -> list[str]:
    rows = re.findall(r"^\| (.+?) \| .+ \|$", text_of("docs/glossary.md"), re.MULTILINE)
    return [word.lower() for word in rows if word != "word"]


def marked_part(name: str, mark: str) -> str:
    found = re.findall(rf"<!-- {mark}:begin -->\n(.*?)<!-- {mark}:end -->", text_of(name), re.DOTALL)
    assert len(found) == 1, f"{name} has the marks of {mark} {len(found)} times, not once"
    part: str = found[0]
    return part


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_between_documents_leads_somewhere(path: Path) -> None:
    assert broken_links(path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_no_document_names_a_folder_of_somebodys_machine(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert [line for line in lines if _MACHINE_PATH.search(line)] == []


def test_every_document_can_be_reached_from_the_index() -> None:
    reached, waiting = set(), [ROOT / "docs" / "index.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md" or not path.exists():
            continue
        reached.add(path)
        links = [link.partition("#")[0] for link in _LINK.findall(path.read_text("utf-8"))]
        waiting += [(path.parent / link).resolve() for link in links if link and "://" not in link]
    assert set(DOCUMENTS) - reached == set()


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_a_decision_has_its_five_sections_and_fits_on_a_page(path: Path) -> None:
    text = path.read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(text.splitlines()) <= DECISION_LINES_MAX
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    assert numbers
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


def test_every_dependency_has_its_sentence() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    names = [re.split(r"[<>=~! \[]", one)[0] for one in project["dependencies"]]
    page = text_of("docs/decisions/0009-dependencies.md")
    assert [name for name in names if f"**{name}**:" not in page] == []


def test_the_glossary_is_sorted_and_names_no_word_twice() -> None:
    words = glossary_words()
    assert len(words) > 50
    assert words == sorted(set(words))


def test_the_readme_opens_with_the_two_commands_that_do_all_set_up() -> None:
    block = re.search(r"^```sh\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert block is not None
    commands = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    assert commands == ["make demo", "make test"]
    assert {"demo", "test"} <= make_targets().keys()
    before = text_of("README.md")[: block.start()]
    assert before.count("\n\n") == 1, "only the title stands before them"


def test_every_make_target_is_documented_and_explains_itself() -> None:
    documents = text_of("README.md") + text_of("CONTRIBUTING.md")
    targets = make_targets()
    assert targets
    assert [name for name in targets if f"make {name}" not in documents] == []
    assert [name for name, line in targets.items() if "## " not in line] == []


def test_the_newest_change_is_of_the_version_that_is_built() -> None:
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    versions = re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == version


@pytest.mark.parametrize(("name", "mark"), MARKED.items())
def test_what_is_rendered_from_the_code_has_its_place(name: str, mark: str) -> None:
    assert marked_part(name, mark).strip()


def test_the_table_of_messages_has_a_row_for_each_message_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| `?(\w+)`? \|", marked_part("docs/protocol.md", "messages"), re.MULTILINE)
    assert rows == [(str(entry.number), entry.record.__name__) for entry in MESSAGES]
