"""Rules of the protocol package that types cannot say."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import protocol
from protocol import limits
from protocol.errors import Code
from protocol.wire import control
from protocol.wire.registry import BY_NUMBER, BY_RECORD, MESSAGES
from tools import tables

PROTOCOL = Path(protocol.__file__).parent
ROOT = PROTOCOL.parent
PACKAGES = ("protocol", "actors", "flame", "flotta_p2p", "simulations", "tools")
CONTAINERS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
CONTAINER_CALLS = {"dict", "list", "set", "deque", "defaultdict", "OrderedDict", "Counter"}


def sources(*packages: str) -> dict[Path, str]:
    return {path: path.read_text() for package in packages for path in sorted((ROOT / package).rglob("*.py"))}


def is_container(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in CONTAINER_CALLS
    return isinstance(value, CONTAINERS)


def containers_kept(text: str) -> Iterator[tuple[int, int, str]]:
    """(first line, last line, name) of every container that a machine keeps in an attribute."""
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    makers = (function for function in functions if function.name == "__init__")
    for node in (node for maker in makers for node in ast.walk(maker)):
        match node:
            case (
                ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=value)
                | ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name), value=value)
            ) if is_container(value):
                yield node.lineno, node.end_lineno or node.lineno, name


@pytest.mark.parametrize("path", sorted((PROTOCOL / "machines").glob("*.py")), ids=lambda path: path.stem)
def test_every_container_of_a_machine_names_its_limit(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    bare = []
    for first, last, name in containers_kept(text):
        comment = " ".join(line.partition("#")[2] for line in lines[first - 1 : last])
        named = re.findall(r"limits\.([A-Z_]+)", comment)
        if not (named and all(hasattr(limits, one) for one in named)) and "bounded by" not in comment:
            bare.append(f"{path.name}:{first} {name}")
    assert not bare, f"say limits.NAME (or 'bounded by …') in the comment of: {bare}"


def test_the_rule_sees_containers() -> None:
    text = "class A:\n  def __init__(self):\n    self.a = {}\n    self.b: dict[int, int] = {}\n    self.c = 1\n"
    assert [name for _, _, name in containers_kept(text)] == ["a", "b"]


def names_used(text: str) -> set[str]:
    return {
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.NAME
    }


def limit_names() -> list[str]:
    return [name for name in vars(limits) if name.isupper() and name not in ("KIB", "MIB")]


def test_every_limit_is_used() -> None:
    used: set[str] = set()
    for path, text in sources(*PACKAGES).items():
        if path.name != "limits.py":
            used |= names_used(text)
    text = (PROTOCOL / "limits.py").read_text()
    used |= {name for name in limit_names() if len(re.findall(rf"\b{name}\b", text)) > 1}
    assert [name for name in limit_names() if name not in used] == []


def test_every_limit_says_why() -> None:
    """A comment behind it or above it; a pair of MIN and MAX shares one."""
    lines = (PROTOCOL / "limits.py").read_text().splitlines()
    silent = []
    for at, line in enumerate(lines):
        name = line.partition(":")[0]
        if not re.match(r"[A-Z_]+: Final", line) or name in ("KIB", "MIB"):
            continue
        block = lines[at : at + 4] if line.endswith("(") else [line]
        above = lines[at - 1]
        explained = any("#" in one for one in block) or (above.startswith("# ") and not above.startswith("# ---"))
        stem = re.sub(r"_(MIN|MAX)$", "", name)
        pair = any("#" in other and re.match(rf"{stem}(_MIN|_MAX)?: Final", other) for other in lines)
        if not explained and not pair:
            silent.append(name)
    assert silent == []


def test_units_stand_last_in_the_names_of_limits() -> None:
    units = r"(BYTES|MS|CHARS|FRAMES|ROWS|LINES|CHARACTERS|PERCENT)"
    misplaced = [name for name in limit_names() if re.search(rf"^{units}_", name)]
    assert misplaced == []


def test_every_code_is_used() -> None:
    text = "\n".join(text for path, text in sources(*PACKAGES).items() if path != PROTOCOL / "errors.py")
    text += (PROTOCOL / "errors.py").read_text().partition("class FlottaError")[2]
    used = set(re.findall(r"Code\.([A-Z_]+)", text))
    # A guard that runs before anything can be imported has only the value.
    assert sorted(code.name for code in Code if code.name not in used and f'"{code.value}"' not in text) == []


def test_codes_are_their_names() -> None:
    assert all(code.value == code.name.lower().replace("_", "-") for code in Code)


def test_numbers_of_messages_are_unique_on_wire_and_control_socket() -> None:
    assert len(BY_NUMBER) == len(BY_RECORD) == len(MESSAGES)
    for number, record in control._RECORDS.items():
        assert number >= 100 or BY_NUMBER[number].record is record
    assert len(set(control._RECORDS.values())) == len(control._RECORDS)


def test_no_function_of_the_protocol_catches_everything() -> None:
    for path, text in sources("protocol").items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler):
                names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {""}
                assert not names & {"", "Exception", "BaseException"}, f"{path}:{node.lineno}"


def test_modules_of_the_protocol_stay_readable() -> None:
    long = {path.name: text.count("\n") for path, text in sources("protocol").items() if text.count("\n") > 450}
    assert long == {}


def test_tables_for_the_manual_have_a_row_for_each_message_and_transition() -> None:
    assert tables.messages().count("\n") == len(MESSAGES) + 1
    assert set(tables.MACHINES) == {path.stem for path, text in sources("protocol").items() if "\nTRANSITIONS" in text}
    for name, table in tables.MACHINES.items():
        text = tables.transitions(name)
        assert text.startswith("| state | event | next |")
        assert text.count("\n") == sum(map(len, table.values())) + 1
