"""The penguins, split among three holders."""

from __future__ import annotations

from importlib.resources import files


def penguin_shares() -> dict[str, str]:
    """CSV text with all columns by the name of the island: Biscoe, Dream, Torgersen."""
    header, *rows = files(__package__).joinpath("penguins.csv").read_text(encoding="utf-8").splitlines()
    island = header.split(",").index("island")
    shares: dict[str, list[str]] = {}
    for row in rows:
        shares.setdefault(row.split(",")[island], [header]).append(row)
    return {name: "\n".join(shares[name]) + "\n" for name in sorted(shares)}
