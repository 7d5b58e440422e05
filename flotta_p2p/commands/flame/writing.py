"""`write`: a new value for an input of a run that goes on."""

from __future__ import annotations

from pathlib import Path

import click

from flame.types.portable import load
from flotta_p2p.commands.flame.options import RUNS, json_option
from flotta_p2p.commands.flame.showing import as_text, as_time
from flotta_p2p.commands.flame.which_run import space
from flotta_p2p.commands.output import show
from protocol.errors import Code, WorkflowError


@click.command(
    short_help="Set an input of a run that goes on.",
    context_settings={"ignore_unknown_options": True},  # so that -5 is a value
)
@click.argument("address")
@click.argument("value")
@RUNS
@json_option
def write(address: str, value: str, runs: Path | None, as_json: bool) -> None:
    """Set the input at ADDRESS to VALUE, in the unit of the input, while its run goes on. The workflow says which
    inputs are open, and to whom: lock.writable("target", by=["anna", "@lab"]).

    VALUE is JSON, as in the parameters file; what is no JSON is text.

    \b
    Examples:
      flame write '#lock/target' 81.5
      flame write '#/j41/lock/in/offset' -2
      flame write '#lock/mode' fast
    """
    from flame.authoring.parameters import value_of_text
    from flame.run.write_request import ask
    from flame.run.writes import WriteRequest, opened

    run, node, name = space(runs).input_at(address)
    if not run.is_running:
        raise WorkflowError(
            Code.RUN_UNKNOWN,
            f"run {run.alias} does not go on: it is {run.state}, so nothing can be written to it",
            next_step="`flame ps` shows the runs; a new run takes the value from parameters.json",
        )
    opened(run.graph, node.name, name)
    held = value_of_text(value)
    accepted = ask(run.folder.write_socket, WriteRequest(node.name, name, held), run.alias)
    place = f"#/{run.alias}/{node.name}/in/{name}"
    facts = {"address": place, "value": held, "number": accepted.seq, "author": accepted.author}
    times = {"time": as_time(accepted.time_ns), "time_ns": accepted.time_ns}
    line = f"{place} = {as_text(load(held))}, written by {accepted.author} at {times['time']}"
    show({**facts, **times}, (line,), as_json=as_json)
