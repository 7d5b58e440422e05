"""`bench`: what flame nodes reach on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from flotta_p2p.commands.flame.options import json_option
from flotta_p2p.commands.output import clean, show, table

_QUICK: Final = 0.02


@click.command(short_help="Measure what flame nodes reach here, beside raw ZeroMQ.")
@click.option("--quick", is_flag=True, help="A fiftieth of the repetitions: whether all of it runs, not how fast.")
@json_option
def bench(quick: bool, as_json: bool) -> int:
    """Measure what flame nodes reach on this machine, on the disk of this folder, beside ZeroMQ alone in the same
    processes, and whether it is what flame aims at. It takes a minute or two. Exit code 1 when something could not
    be measured; an aim that is missed is no error.

    \b
    Examples:
      flame bench
      flame bench --json
    """
    from flotta_p2p.flame_bench.measuring import Bench, measurements
    from flotta_p2p.flame_bench.rows import HEADERS, NUMBERS, cells

    rows = []
    with Bench(Path.cwd()) as benched:
        for one in measurements(_QUICK if quick else 1.0, benched.sockets):
            if not as_json:
                click.echo(clean(f"{one.what} …"), err=True)
            rows.append(benched.measure(one))
    lines = table(HEADERS, [cells(one) for one in rows], right=NUMBERS)
    show({"rows": [msgspec.to_builtins(one) for one in rows]}, lines, as_json=as_json)
    return int(any(one.fault for one in rows))
