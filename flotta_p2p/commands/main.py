"""The group of all commands."""

from __future__ import annotations

import click

from flotta_p2p import __version__
from flotta_p2p.commands.config import config
from flotta_p2p.commands.data import data
from flotta_p2p.commands.demo import demo
from flotta_p2p.commands.doctor import doctor, explain
from flotta_p2p.commands.flame import flame
from flotta_p2p.commands.group import Commands
from flotta_p2p.commands.jobs import job, jobs
from flotta_p2p.commands.joining import join, leave, rejoin
from flotta_p2p.commands.keys import key
from flotta_p2p.commands.nodes import status, up
from flotta_p2p.commands.peers import peers
from flotta_p2p.commands.projects import project
from flotta_p2p.commands.removing import remove_jobs
from flotta_p2p.commands.submitting import send, sign, submit


@click.group(
    "flotta-p2p",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="flotta-p2p")
def cli() -> None:
    """Machines of different owners, joined into one computer without a centre.

    \b
    Examples:
      flotta-p2p demo                      three nodes on this machine answer a question
      flotta-p2p up -c site.yaml           run a node
      flotta-p2p submit --project heart --columns age,bmi
    """


_NODE = (demo, up, status, peers, join, leave, rejoin, doctor, explain)
job.add_command(remove_jobs)
for _command in (*_NODE, config, project, data, key, submit, sign, send, jobs, job, flame):
    cli.add_command(_command)
