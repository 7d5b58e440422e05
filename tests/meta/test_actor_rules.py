"""Rules of the actor tree that types cannot say."""

from __future__ import annotations

import ast
from pathlib import Path

import actors

ROOM = Path(actors.__file__).parent
MAY_IMPORT_PYKKA = {"base.py", "inbox.py", "child_spec.py", "root.py"}


def imports(tree: ast.AST) -> set[str]:
    """First names of the modules that a file imports."""
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    origins = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | origins}


def users_of_pykka() -> dict[str, ast.AST]:
    trees = {str(path.relative_to(ROOM)): ast.parse(path.read_text("utf-8")) for path in ROOM.rglob("*.py")}
    return {name: tree for name, tree in trees.items() if "pykka" in imports(tree)}


def test_only_the_base_touches_pykka_so_actors_have_handles_and_never_refs() -> None:
    assert set(users_of_pykka()) == MAY_IMPORT_PYKKA


def test_the_base_neither_asks_actors_nor_looks_them_up() -> None:
    for name, tree in users_of_pykka().items():
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & {"ask", "proxy", "ActorRegistry"}, name
