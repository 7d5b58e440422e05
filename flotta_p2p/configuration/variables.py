"""`${NAME}` in values of the configuration file becomes the value of that environment variable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from flotta_p2p.faults import Faults
from flotta_p2p.safe_yaml import Broken, Items, Keys, Leaf, Tree
from protocol.errors import Code
from protocol.limits import CONFIG_VALUE_CHARS_MAX

_REFERENCE: Final = re.compile(r"(?P<escape>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?")


def expand(tree: Keys, environ: Mapping[str, str], faults: Faults) -> None:
    """Replace every `${NAME}` in the values of `tree`, in place; keys stay as they are.

    The replacement is text within one value: it can never add keys or change the structure. `$${` stands
    for a plain `${`. An unset variable and a `${` without a name and `}` are added to `faults`, and their
    values become `Broken`.
    """
    waiting: list[Items | Keys] = [tree]
    while waiting:
        around = waiting.pop()
        if isinstance(around, Items):
            around.items[:] = [_expanded(item, environ, faults) for item in around.items]
            children = around.items
        else:
            for entry in around.entries.values():
                entry.value = _expanded(entry.value, environ, faults)
            children = [entry.value for entry in around.entries.values()]
        waiting.extend(child for child in children if isinstance(child, Items | Keys))


def _expanded(tree: Tree, environ: Mapping[str, str], faults: Faults) -> Tree:
    if not isinstance(tree, Leaf) or tree.text is None or "${" not in tree.text:
        return tree
    parts: list[str] = []
    end, sound = 0, True
    for match in _REFERENCE.finditer(tree.text):
        name = match["name"]
        parts.append(tree.text[end : match.start()])
        end = match.end()
        if match["escape"]:
            parts.append("${")
        elif name is None:
            faults.add(tree.line, 'a "${" is not followed by a name and "}"; write ${NAME}, or $${ for a plain ${')
            sound = False
        elif name in environ:
            parts.append(environ[name])
        else:
            sentence = f"the environment variable {name} is not set; set it or write the value itself"
            faults.add(tree.line, sentence, Code.VARIABLE_UNSET)
            sound = False
    text = "".join([*parts, tree.text[end:]])
    if sound and len(text) > CONFIG_VALUE_CHARS_MAX:
        faults.add(tree.line, f"a value with its variables is longer than {CONFIG_VALUE_CHARS_MAX} characters")
        sound = False
    return Leaf(tree.line, text) if sound else Broken(tree.line)
