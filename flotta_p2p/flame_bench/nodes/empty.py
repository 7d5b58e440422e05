"""Starts and ends."""

from __future__ import annotations

import flame


def main() -> None:
    node = flame.Node("Empty")
    node.register()


if __name__ == "__main__":
    main()
