"""`config check`, `show`, `init` and `schema`: the configuration file before a node starts from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from flotta_p2p.commands.options import FILE, json_option
from flotta_p2p.commands.output import show
from protocol.words import many

if TYPE_CHECKING:
    from flotta_p2p.configuration.schema import Configuration

_USUAL: Final = Path("site.yaml")


@click.group(no_args_is_help=True)
def config() -> None:
    """The configuration file of a node.

    \b
    Examples:
      flotta-p2p config init site.yaml
      flotta-p2p config check site.yaml
      flotta-p2p config show site.yaml
    """


@config.command("check")
@click.argument("file", type=FILE)
@json_option
def check(file: Path, as_json: bool) -> None:
    """Say all that is wrong with a configuration file, or that it is sound. Starts and changes nothing.

    \b
    Example:
      flotta-p2p config check site.yaml
    """
    from flotta_p2p.configuration.read import read_configuration
    from flotta_p2p.identity import Projects

    configuration = read_configuration(file, os.environ)
    projects = Projects(configuration)
    held = projects.read()
    projects.policy()
    values = {
        "file": str(file),
        "mode": configuration.mode,
        "name": configuration.node.name,
        "projects": sorted(projects.names.values()),
        "sources": [source.name for source in configuration.datasources],
        "notes": list(configuration.notes),
    }
    sources = many(len(configuration.datasources), "data source")
    facts = f"mode {configuration.mode}, name {configuration.node.name}, {many(len(held), 'project')}, {sources}"
    show(values, (f"{file} is sound: {facts}.", *configuration.notes), as_json=as_json)


@config.command("show")
@click.argument("file", type=FILE, required=False)
@json_option
def show_effective(file: Path | None, as_json: bool) -> None:
    """What a node would start from, defaults included, as YAML. Secrets are masked. Without FILE the defaults.

    \b
    Examples:
      flotta-p2p config show site.yaml
      flotta-p2p config show site.yaml --json
    """
    from flotta_p2p.configuration.effective import effective_values, effective_yaml
    from flotta_p2p.configuration.read import read_configuration

    configuration = read_configuration(file, os.environ)
    names = _names_by_token(configuration)
    lines = effective_yaml(configuration, names).splitlines()
    show(effective_values(configuration, names), lines, as_json=as_json)


@config.command("init")
@click.argument("file", type=FILE, default=_USUAL)
@json_option
def init(file: Path, as_json: bool) -> None:
    """Write a commented configuration file with every key. A file that exists is never overwritten.

    \b
    Examples:
      flotta-p2p config init
      flotta-p2p config init hospital.yaml
    """
    from flotta_p2p.configuration.template import PROJECT, template

    _write_new(file, template())
    lines = (
        f"{file} has every key with its meaning; what is not needed is commented out.",
        "Next: name your table and its project in it; then, with the example's project:",
        f"  flotta-p2p project new {PROJECT} -c {file}",
        f"  flotta-p2p config check {file}",
    )
    show({"file": str(file)}, lines, as_json=as_json)


@config.command("schema")
@json_option
def schema(as_json: bool) -> None:
    """The JSON Schema (draft 2020-12) of the file, with which editors complete and explain keys.

    \b
    Example:
      flotta-p2p config schema > flotta-p2p.schema.json
    """
    from flotta_p2p.configuration.json_schema import json_schema

    show(json_schema(), (), as_json=True)


def _names_by_token(configuration: Configuration) -> dict[object, str]:
    from actors.adapters.token_files import list_projects

    initial = [(project.name, project.token) for project in configuration.node.token_projects_initial]
    return {token: name for name, token in (*list_projects(configuration.workdir), *initial)}


def _write_new(path: Path, text: str) -> None:
    """Closed to others, since it may come to hold tokens."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.UsageError(f"the file {path} exists already, and a configuration is never overwritten") from error
    except OSError as error:
        raise click.UsageError(f"the file {path} cannot be written: {error.strerror}") from error
