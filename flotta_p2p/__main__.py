"""`python -m flotta_p2p` is `flotta-p2p`; with a configuration alone, as in `… -c FILE`, it runs the node."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main(words: list[str] | None = None) -> NoReturn:
    """The entry point `flotta-p2p`. `words`: the command line, else that of the process."""
    loud = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it is ignored under nohup
    if loud:  # while the commands are loaded there is nothing to tell: Ctrl-C ends the process in silence
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from flotta_p2p.commands.main import cli

    if loud:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main(words)


if __name__ == "__main__":
    typed = sys.argv[1:]
    names_config = bool(typed) and (typed[0].startswith("-c") or typed[0].split("=")[0] == "--config")
    main(["up", *typed] if names_config else typed)
