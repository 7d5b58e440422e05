"""A node for learning and tests: `python -m flotta_p2p.standalone [-c FILE]` is `flotta-p2p up --standalone [-c FILE]`.

Light: the configuration that comes with it, and what to ask it first.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path(__file__).with_suffix(".yaml")


def welcome(workdir: Path, *, own_table: bool) -> tuple[str, ...]:
    """What a learner reads at the start: the exact commands for a second terminal.

    `own_table`: the node runs a configuration of the person; otherwise the table that it brings.
    """
    place = f"--workdir {shlex.quote(str(workdir))}"
    if own_table:
        return (
            "Look at its projects, sources and columns, in a second terminal:",
            f"  flotta-p2p status {place}",
            "Ask it with `flotta-p2p submit` and the same --workdir.",
        )
    return (
        "It brings a table of 344 penguins in the project penguins. Ask it, in a second terminal:",
        f"  flotta-p2p submit {place} --project penguins --columns body_mass_g --where \"species == 'Adelie'\"",
    )


if __name__ == "__main__":
    from flotta_p2p.__main__ import main

    main(["up", "--standalone", *sys.argv[1:]])
