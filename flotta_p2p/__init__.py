"""flotta-p2p: machines of different owners joined into one computer without a centre.

Importing this package first makes sure that its sister packages with their plain names are its own.
"""

# Nothing dear is imported here, pathlib included: until the program itself begins, Ctrl-C gives a traceback.
# ruff: noqa: PTH100, PTH110, PTH118, PTH120, PTH121

from __future__ import annotations

import os
from importlib.util import find_spec

__version__ = "0.6.0"


class ShadowedPackageError(ImportError):
    """Something else stands in the place of `protocol`, `actors` or `flame`.

    Not of the tree in `protocol.errors`, which may be the very module that cannot be trusted. `name` is
    this package, so that `python -m flotta_p2p` prints the sentence alone.
    """

    code = "shadowed-package"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, name=__name__)


def _check_sisters() -> None:
    """Compares where the sisters would be imported from, and imports none of them."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in ("protocol", "actors", "flame"):
        own = os.path.join(home, name, "__init__.py")
        spec = find_spec(name)
        if spec is None:
            raise ShadowedPackageError(
                f'the package "{name}" is missing: expected {own}. Next: install flotta-p2p again.'
            )
        if spec.origin is None or (spec.origin != own and not _same_file(spec.origin, own)):
            found = spec.origin or ", ".join(spec.submodule_search_locations or ())
            raise ShadowedPackageError(
                f'"{name}" would be imported from {found}, which is not part of flotta-p2p; expected {own}.'
                " Next: rename or remove it, or start in another folder."
            )


def _same_file(found: str, own: str) -> bool:
    """One installation may be reached by two paths."""
    return os.path.exists(found) and os.path.exists(own) and os.path.samefile(found, own)


_check_sisters()
