"""`python -m flotta_p2p` is `flotta-p2p`; with a configuration alone, as in `… -c FILE`, it runs the node."""

from __future__ import annotations

import sys

from flotta_p2p.commands.main import cli

if __name__ == "__main__":
    words = sys.argv[1:]
    names_config = bool(words) and (words[0].startswith("-c") or words[0].split("=")[0] == "--config")
    cli.main(["up", *words] if names_config else words)
