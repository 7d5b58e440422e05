"""`new` and `generate`: what a workflow begins with, and the classes that it is written with."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from flame.authoring.node_files import CLASSES_FOLDER
from flotta_p2p.commands.flame.options import FOLDER, json_option
from flotta_p2p.commands.output import show
from protocol.errors import Code, StorageError

_NODE: Final = "drift.py"
_WORKFLOW: Final = ("scan.py", "drift.py", "workflow.py")
_CLASS: Final = "Drift"
_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,63}", re.ASCII)


@click.group(no_args_is_help=True, short_help="Write a node file or a workflow to begin with.")
def new() -> None:
    """Write files to begin with. They run as they are, and are yours to change.

    \b
    Examples:
      flame new workflow
      flame new node LaserLock
    """


@new.command("workflow", short_help="A workflow of two flame nodes that runs.")
@click.argument("folder", type=FOLDER, default=Path(), required=False)
@json_option
def new_workflow(folder: Path, as_json: bool) -> None:
    """A workflow of two flame nodes that feed one another, in FOLDER, else here.

    \b
    Examples:
      flame new workflow
      flame new workflow rabi
    """
    texts = {folder / name: _template(name) for name in _WORKFLOW}
    _write(texts)
    there = "" if folder == Path() else f"cd {folder}; "
    lines = (f"Made {', '.join(map(str, texts))}.", f"Next: {there}flame run")
    show({"files": [str(path) for path in texts]}, lines, as_json=as_json)


@new.command("node", short_help="A node file that runs.")
@click.argument("name")
@json_option
def new_node(name: str, as_json: bool) -> None:
    """A node file of the kind NAME, such as LaserLock, which becomes laser_lock.py.

    \b
    Example:
      flame new node LaserLock
    """
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r} is no name of a kind of flame node; write letters and digits, as in LaserLock"
        )
    path = Path(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() + ".py")
    if path.stem in sys.stdlib_module_names or path.stem in ("flame", CLASSES_FOLDER):
        raise click.UsageError(f"{path} would hide a module from every program beside it; take another name")
    _write({path: _template(_NODE).replace(_CLASS, name).replace(_NODE, path.name)})
    show({"files": [str(path)]}, (f"Made {path}.", f"Next: python {path}"), as_json=as_json)


@click.command(short_help="Make the classes of node files, in `flame_nodes/`.")
@click.argument("folder", type=FOLDER, default=Path(), required=False)
@json_option
def generate(folder: Path, as_json: bool) -> None:
    """Make the classes of `flame_nodes/` from the node files in FOLDER, else here. `check` and `run` do it as well.

    \b
    Examples:
      flame generate
      flame generate rabi
    """
    from flame.authoring.faults import raise_any
    from flame.authoring.generate import generate as make

    if not folder.is_dir():
        raise click.UsageError(f"{folder} is no folder")
    made = make(folder)
    values = {
        "classes": {name: kind.file for name, kind in made.kinds.items()},
        "written": list(made.written),
        "removed": list(made.removed),
    }
    raise_any(made.faults)
    lines = [f"{name}: {kind.file}" for name, kind in made.kinds.items()] or ["There are no node files here."]
    changed = len(made.written) + len(made.removed)
    lines.append(f"{changed} files of flame_nodes changed." if changed else "Nothing of it changed.")
    show(values, lines, as_json=as_json)


def _template(name: str) -> str:
    return (files(__package__) / "templates" / f"{name}.txt").read_text("utf-8")


def _write(texts: dict[Path, str]) -> None:
    """All or none: a file that exists is never overwritten. Raises click.UsageError, StorageError."""
    taken = [str(path) for path in texts if path.exists()]
    if taken:
        raise click.UsageError(f"{', '.join(taken)} exists already, and is never overwritten")
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise StorageError(
                Code.FOLDER_UNUSABLE,
                f"{path} cannot be written: {error.strerror}",
                next_step="make room, or choose a folder where this user may write",
            ) from error
