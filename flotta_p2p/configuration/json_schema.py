"""The configuration file as JSON Schema, so that editors complete and explain keys.

It takes every file that a node takes, words of a choice in capitals apart. What no schema can say, such as rules
between keys, is left to `flotta-p2p config check`.
"""

from __future__ import annotations

from typing import Any, Final

from flotta_p2p.configuration.keys import Described, keys_of
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf, Section, Shape, Value

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_EMPTY: Final = {"$ref": "#/$defs/empty"}
_VARIABLE: Final = {"$ref": "#/$defs/variable"}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12, as plain values for one JSON document."""
    return {
        "$schema": _DRAFT,
        "title": "Configuration of a flotta-p2p node",
        **_group(Document),
        "$defs": {
            "empty": {"description": "counts as not given", "enum": [None, ""]},
            "variable": {
                "description": "${NAME} is the value of that environment variable",
                "type": "string",
                "pattern": r"\$\{",
            },
        },
    }


def _group(kind: type[Section]) -> dict[str, Any]:
    keys = keys_of(kind)
    required = [name for name, key in keys.items() if key.required]
    return {
        "type": "object",
        "properties": {name: _key(key) for name, key in keys.items()},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _key(key: Described) -> dict[str, Any]:
    default = f" Default: {key.default_words}." if key.default_words else ""
    ways = [*_ways(key.shape), *([] if key.required else [_EMPTY])]
    return {"description": f"{key.about.meaning}.{default}", **({"anyOf": ways} if len(ways) > 1 else ways[0])}


def _ways(shape: Shape) -> list[dict[str, Any]]:
    """What may stand there, each way for itself."""
    match shape:
        case Value(json=json):
            return [dict(json), _VARIABLE]
        case ListOf(item=item, least=least, most=most, word=word):
            items = _ways(item)
            listed = {
                "type": "array",
                "items": {"anyOf": items} if len(items) > 1 else items[0],
                "minItems": least,
                "maxItems": most,
            }
            return [listed, *([{"const": word}] if word else [])]
        case _:
            return [_group(shape)]
