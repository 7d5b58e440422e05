"""The outermost group of a command line: the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from flotta_p2p import exit_codes
from flotta_p2p.commands.output import Interrupted, show_bug, show_error, show_fault
from flotta_p2p.interrupting import raising
from protocol.errors import FlottaError

_USAGE: Final = "usage"  # the code of errors of the command line itself
_INTERRUPTED: Final = "interrupted"
_PROGRAM: Final = "flotta-p2p"


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
        sys.exit(self._run(words, prog_name or _PROGRAM, as_json="--json" in words))

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
            show_error(_USAGE, error.format_message(), next_step=f"{path} --help", program=prog_name, as_json=as_json)
            return exit_codes.USAGE
        except FlottaError as error:
            show_fault(error, program=prog_name, as_json=as_json)
            return exit_codes.exit_code(error)
        except Interrupted as error:
            step = error.next_step
            show_error(_INTERRUPTED, _INTERRUPTED, job=error.job, next_step=step, program=prog_name, as_json=as_json)
        except (click.Abort, KeyboardInterrupt):
            show_error(_INTERRUPTED, _INTERRUPTED, program=prog_name, as_json=as_json)
        except Exception as error:  # the outermost frame of the main thread
            show_bug(error, program=prog_name, as_json=as_json)
            return exit_codes.INTERNAL
        return exit_codes.INTERRUPTED
