"""The group of all commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from flotta_p2p import __version__, exit_codes
from flotta_p2p.commands.config import config
from flotta_p2p.commands.data import data
from flotta_p2p.commands.demo import demo
from flotta_p2p.commands.doctor import doctor, explain
from flotta_p2p.commands.jobs import job, jobs
from flotta_p2p.commands.joining import join, leave, rejoin
from flotta_p2p.commands.keys import key
from flotta_p2p.commands.nodes import status, up
from flotta_p2p.commands.output import Interrupted, show_bug, show_error, show_fault
from flotta_p2p.commands.peers import peers
from flotta_p2p.commands.projects import project
from flotta_p2p.commands.removing import remove_jobs
from flotta_p2p.commands.submitting import send, sign, submit
from flotta_p2p.interrupting import raising
from protocol.errors import FlottaError

_USAGE: Final = "usage"  # the code of errors of the command line itself
_INTERRUPTED: Final = "interrupted"


class Commands(click.Group):
    """Commands return their exit code; None means OK."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Runs one command line and ends the process with its exit code. Never shows a traceback."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that lacks a character still shows the rest
        words = list(sys.argv[1:] if args is None else args)
        sys.exit(self._run(words, prog_name or "flotta-p2p", as_json="--json" in words))

    def _run(self, words: list[str], prog_name: str, *, as_json: bool) -> int:
        try:
            with raising():
                code = super().main(words, prog_name, standalone_mode=False)
            return code if isinstance(code, int) else exit_codes.OK
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return exit_codes.USAGE
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else prog_name
            show_error(_USAGE, error.format_message(), next_step=f"{path} --help", as_json=as_json)
            return exit_codes.USAGE
        except FlottaError as error:
            show_fault(error, as_json=as_json)
            return exit_codes.exit_code(error)
        except Interrupted as error:
            show_error(_INTERRUPTED, _INTERRUPTED, job=error.job, next_step=error.next_step, as_json=as_json)
        except (click.Abort, KeyboardInterrupt):
            show_error(_INTERRUPTED, _INTERRUPTED, as_json=as_json)
        except Exception as error:  # the outermost frame of the main thread
            show_bug(error, as_json=as_json)
            return exit_codes.INTERNAL
        return exit_codes.INTERRUPTED


@click.group(
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
for _command in (*_NODE, config, project, data, key, submit, sign, send, jobs, job):
    cli.add_command(_command)
