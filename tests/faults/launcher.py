"""The product's launcher, but a node that is killed again and again is started again at once and never given up."""

from __future__ import annotations

import sys
from typing import Final
from unittest.mock import patch

from actors import launcher

PAUSE_MS: Final = 20
ENDS_MAX: Final = 100_000


def argv_of(product: list[str]) -> list[str]:
    """The command line of this launcher for one of the product's: the same plan, another module."""
    return [sys.executable, "-m", __name__, *product[product.index("--plan") :]]


def main(arguments: list[str]) -> int:
    with patch.multiple(launcher, NODE_BACKOFF_MS_MIN=PAUSE_MS, NODE_BACKOFF_MS_MAX=PAUSE_MS, NODE_ENDS_MAX=ENDS_MAX):
        return launcher.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
