"""A scalar as it is written into a configuration file."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# What every reader of YAML takes for the same text: it begins with a letter, a dot or a slash, and is no word of YAML.
_BARE: Final = re.compile(r"[A-Za-z./][A-Za-z0-9./_@-]*(:[0-9]+)?", re.ASCII)
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan"})


def in_yaml(value: Any) -> str:
    """A boolean, a number, a text or None, which is written as an empty text, or a list of them."""
    match value:
        case None:
            return '""'
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list():
            return f"[{', '.join(map(in_yaml, value))}]"
        case _:
            return _text(str(value).replace("${", "$${"))


def _text(text: str) -> str:
    bare = _BARE.fullmatch(text) and text.lower() not in _WORDS
    return text if bare else json.dumps(text, ensure_ascii=False)
