"""`python -m tools NAME …`: the tools of the project. They are no part of the installed product."""

from __future__ import annotations

import sys
from typing import Final

_USAGE: Final = """usage: python -m tools NAME …

  submit …                sign a job and submit it through the door of a node: as `flotta-p2p submit`
  bench …                 measure tasks, latency, rounds, frames, summaries, memory, growth, import and demo
  proof …                 run the large counts behind the promises and write docs/proof.md
  scale …                 measure how networks of 10 to 10,000 nodes grow in virtual time
  transitions [--check]   write the tables of states, messages and keys into docs/, or tell whether they are stale"""


def main(arguments: list[str]) -> int:
    """The exit code of the tool; 2 when there is none of that name. Each tool is imported only when it runs."""
    match arguments:
        case ["submit", *rest]:
            from tools.submit_job import main as submit

            submit(rest)
        case ["bench", *rest]:
            from tools.bench.command import main as bench

            return bench(rest)
        case ["proof", *rest]:
            from tools.proof import main as proof

            return proof(rest)
        case ["scale", *rest]:
            from tools.scale import main as scale

            return scale(rest)
        case ["transitions", *rest]:
            from tools.transitions import main as transitions

            return transitions(rest)
    print(_USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
