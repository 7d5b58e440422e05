"""Addresses as people write them: whole runs and rooms too, short names of runs, and a selector at the end.

    #/                            all runs
    #/j41                         one run            #/last   the newest that has ended
    #/j41/lock                    one flame node     #lock    in the newest run
    #/j41/lock/params             a room
    #/j41/lock/beat[-1]           a value            #lock/memory/integral

`protocol.eui` judges every name; this module adds what an address for people has beyond that. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from flame.names.selectors import Selector, means_one, split
from flame.run.run_folder import is_alias
from protocol.errors import AddressError, Code
from protocol.eui import EUI, LAST, PLAIN_ROOMS, RESERVED

LAST_WORD: Final = "last"


class Address(msgspec.Struct, frozen=True):
    """`run`: an alias, the text of a job id, `last`, or "" for the newest run. Empty parts are not named.

    `above`: the list of all runs is meant.
    """

    run: str = ""
    node: str = ""
    room: str = ""
    name: str = ""
    selector: Selector | None = None
    above: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether other addresses lie below it."""
        return not self.name and self.room not in PLAIN_ROOMS


def parse(text: str) -> Address:
    """Raises AddressError(ADDRESS_MALFORMED | ID_MALFORMED)."""
    bare, selector = split(text)
    if not bare.startswith("#"):
        raise _malformed(f"an address begins with '#', not {bare[:1]!r}")
    if bare == "#/":
        address = Address(above=True)
    elif bare.startswith("#/"):
        run, _, below = bare.removeprefix("#/").removesuffix("/").partition("/")
        address = _below(_run(run), below)
    else:
        address = _below("", bare.removeprefix("#").removesuffix("/"))
    if selector is None:
        return address
    if address.room not in ("out", "in") or address.is_folder:
        raise _malformed(f"{bare!r} is no stream of values, so nothing can be selected of it")
    return msgspec.structs.replace(address, selector=selector)


def selects_one(text: str) -> bool:
    """Whether this address means one value of a stream. Raises as `parse`."""
    selector = parse(text).selector
    return selector is not None and means_one(selector)


def _run(text: str) -> str:
    if text in (LAST_WORD, LAST):
        return LAST_WORD
    if is_alias(text):
        return text
    return EUI.parse(f"#/{text}/any/any").first


def _below(run: str, text: str) -> Address:
    segments = text.split("/") if text else []
    match segments:
        case []:
            return Address(run=run)
        case [node]:
            return Address(run=run, node=EUI(node=node, room="log").node)
        case [node, room] if room in RESERVED:
            return Address(run=run, node=EUI(node=node, room="log").node, room=room)
        case _:
            eui = EUI.parse(f"#{text}")
            return Address(run=run, node=eui.node, room=eui.room, name=eui.name)


def to_text(run: str, node: str = "", room: str = "", name: str = "") -> str:
    """The address of a place, as short as it can be."""
    parts = [part for part in (run, node, "" if room == "out" and name else room, name) if part]
    return "#/" + "/".join(parts)


def _malformed(sentence: str) -> AddressError:
    step = "write #/j41/lock/beat, #lock/beat, #/last/lock/beat[-1] or #/j41/lock/params/gain"
    return AddressError(Code.ADDRESS_MALFORMED, sentence, next_step=step)
