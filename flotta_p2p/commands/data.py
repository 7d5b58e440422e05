"""`data list`, `show`, `check` and `add`: the tables that a node offers to its projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flotta_p2p.commands.options import CONFIG, FILE, Place, found_config, json_option, place_options
from flotta_p2p.commands.output import counting, show

if TYPE_CHECKING:
    from flotta_p2p.configuration.schema import Configuration
    from flotta_p2p.table_check import Problem
    from protocol.columns import Column
    from protocol.plan.tasks import SourceFile

HOLDERS_AT_ONCE: Final = 16  # connections to this machine's node, which has limits.CONTROL_CLIENTS_MAX


@click.group(no_args_is_help=True)
def data() -> None:
    """Data sources: the tables that a node offers to its projects.

    \b
    Examples:
      flotta-p2p data check patients.csv
      flotta-p2p data add patients patients.csv --project heart
      flotta-p2p data list
    """


@data.command("check")
@click.argument("target", metavar="FILE|NAME")
@place_options()
@json_option
def check(place: Place, target: str, as_json: bool) -> int:
    """Read a whole table as a job would, and say what is in it and what is wrong. Shows no value of it.

    FILE is any CSV or TSV file, NAME a source of the configuration, whose policy is checked too. Exit code 8 when no
    job can read it.

    \b
    Examples:
      flotta-p2p data check patients.csv
      flotta-p2p data check patients -c site.yaml
    """
    from flotta_p2p import exit_codes
    from flotta_p2p.commands.data_results import report_lines, report_values
    from flotta_p2p.table_check import check_table, problems

    source = _target(place, target)
    report = check_table(source)
    found = tuple(problems(report, source.rules.columns))
    show(report_values(source, report, found), report_lines(source, report, found), as_json=as_json)
    return exit_codes.DATA if any(one.stops for one in found) else exit_codes.OK


@data.command("list")
@click.option("--network", is_flag=True, help="The sources of all holders, with the columns that they publish.")
@click.option("--project", metavar="NAME", help="With --network: of this project alone, by its name or id.")
@place_options(to=True)
@json_option
def list_all(place: Place, network: bool, project: str | None, as_json: bool) -> None:
    """The sources of this node, and whether they can be read; with --network those of its projects.

    \b
    Examples:
      flotta-p2p data list
      flotta-p2p data list --network
      flotta-p2p data list --network --to node.example.org --token-file heart.token
    """
    from flotta_p2p.commands.data_results import network_lines, network_values, source_lines, source_values

    if (place.to or project) and not network:
        raise click.UsageError("--to and --project go with --network: this node's own sources are listed without them")
    if network:
        offered, more = _offered(place, project, as_json=as_json)
        show(network_values(offered, more), network_lines(offered, more), as_json=as_json)
        return
    from flotta_p2p.commands.places import workdir_of
    from flotta_p2p.sources import known_sources, running_sources

    running = running_sources(workdir_of(place))
    found = known_sources(_configuration(place), running)
    show(source_values(found, node_runs=running is not None), source_lines(found), as_json=as_json)


@data.command("show")
@click.argument("name")
@place_options()
@json_option
def show_one(place: Place, name: str, as_json: bool) -> None:
    """One source: its columns as members of its projects see them, its policy in words, and what is wrong.

    \b
    Example:
      flotta-p2p data show patients
    """
    from flotta_p2p.commands.data_results import one_lines, one_values
    from flotta_p2p.commands.places import workdir_of
    from flotta_p2p.identity import source_files
    from flotta_p2p.policy_words import policy_words
    from flotta_p2p.sources import known_sources, running_sources
    from flotta_p2p.table_check import check_table, problems, published
    from protocol.errors import DataError

    configuration = _configuration(place)
    configured = {source.name: source for source in configuration.datasources} if configuration is not None else {}
    if configuration is None or name not in configured:
        raise _unknown(name, tuple(configured))
    (known,) = (one for one in known_sources(configuration, running_sources(workdir_of(place))) if one.name == name)
    words = policy_words(configured[name].policy)
    source = source_files(configuration)[name]
    seen: tuple[Column, ...] | DataError
    found: tuple[Problem, ...] = ()
    try:
        report = check_table(source)
        found = tuple(problems(report, source.rules.columns))
        seen = () if any(one.stops for one in found) else published(report, source.rules.columns)
    except DataError as error:
        seen = error  # its policy is worth seeing all the same
    show(one_values(known, words, seen, found), one_lines(known, words, seen, found), as_json=as_json)


@data.command("add")
@click.argument("name")
@click.argument("file", type=FILE)
@click.option("--project", "projects", multiple=True, required=True, metavar="NAME", help="Open it to this project.")
@CONFIG
@json_option
def add(name: str, file: Path, projects: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Add a table to the node's configuration file. It is read first, and nothing is added when that fails.

    Comments and layout of the file stay. Without -c the file is config.yaml in the default work directory, which every
    command and `flotta-p2p up` read when no other is named. --project may be given again.

    \b
    Examples:
      flotta-p2p data add patients patients.csv --project heart
      flotta-p2p data add patients patients.csv --project heart --project stroke -c site.yaml
    """
    import os

    from flotta_p2p.commands.data_results import added_lines, added_values
    from flotta_p2p.configuration.add_source import NewSource, add_source
    from flotta_p2p.sources import running_sources
    from flotta_p2p.table_check import check_table, file_type
    from flotta_p2p.user_folders import default_config
    from protocol.plan.tasks import SourceFile

    _check_projects(Place(config=found_config(config)), projects)
    path = file.absolute()
    report = check_table(SourceFile(name=name, path=str(path), type=file_type(path)))
    written = config or default_config()
    new = NewSource(name=name, type=file_type(path), path=path, projects=projects)
    configuration = add_source(written, new, os.environ)
    runs = running_sources(configuration.workdir) is not None
    values = added_values(name, written, report, node_runs=runs)
    show(values, added_lines(values, report), as_json=as_json)


def _configuration(place: Place) -> Configuration | None:
    """None where the work directory alone is known. Raises ConfigError."""
    import os

    from flotta_p2p.configuration.read import read_configuration

    if place.config is None and place.workdir is not None:
        return None
    return read_configuration(place.config, os.environ)


def _target(place: Place, target: str) -> SourceFile:
    """A file, else a source of the configuration, else a file that is not there."""
    from flotta_p2p.identity import source_files
    from flotta_p2p.table_check import file_type
    from protocol.names import is_name
    from protocol.plan.tasks import SourceFile

    path = Path(target)
    configuration = _configuration(place) if is_name(target) and not path.is_file() else None
    known = source_files(configuration) if configuration is not None else {}
    name = path.stem if is_name(path.stem) else "table"
    return known.get(target) or SourceFile(name=name, path=str(path), type=file_type(path))


def _check_projects(place: Place, projects: tuple[str, ...]) -> None:
    """What is no name of a project may be a token, which is never repeated. Raises ConfigError."""
    from flotta_p2p.commands.places import known_projects
    from protocol.errors import Code, DeniedError

    known = known_projects(place)
    if not set(projects) <= set(known):
        names = ", ".join(sorted(known)) or "none"
        raise DeniedError(
            Code.PROJECT_UNKNOWN,
            f"--project is not the name of a project that this node knows; it knows {names}",
            next_step="flotta-p2p project new NAME, or flotta-p2p project add NAME",
        )


def _offered(place: Place, project: str | None, *, as_json: bool) -> tuple[list[Any], dict[str, int]]:
    """(name of the project, source, what its holder publishes or the error) for each source that the node lists, and
    how many more it knows of each project.
    """
    from contextlib import ExitStack, closing

    from flotta_p2p.channels import ControlChannel
    from flotta_p2p.commands.places import link_to, workdir_of
    from flotta_p2p.offers import offers

    listed: list[Any] = []
    more: dict[str, int] = {}
    with link_to(place, project) as link, ExitStack() as stack, counting("sources asked", as_json=as_json) as asked:
        others = range(HOLDERS_AT_ONCE - 1) if place.to is None else ()  # at a door each would knock anew
        besides = [stack.enter_context(closing(ControlChannel(workdir_of(place)))) for _ in others]
        for name, project_id in link.named_projects(project).items():
            found = offers((link.channel, *besides), project_id, asked)
            listed += [(name, *one) for one in found.sources]
            more[name] = found.more
    return listed, more


def _unknown(name: str, known: tuple[str, ...]) -> Exception:
    from protocol.errors import Code, DataError

    return DataError(
        Code.SOURCE_UNKNOWN,
        f'the configuration has no source "{name}"; it has {", ".join(known) or "none"}',
        next_step="name one of these, or add it with `flotta-p2p data add`",
    )
