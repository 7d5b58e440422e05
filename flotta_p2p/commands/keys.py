"""`key new` and `key show`: the person's key, which signs orders."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import click

from flotta_p2p.commands.options import FILE, json_option
from flotta_p2p.commands.output import show
from protocol.ids import format_id, node_id
from protocol.names import NAME_RULE, is_name


@click.group(no_args_is_help=True)
def key() -> None:
    """The person's key, which signs orders.

    \b
    Examples:
      flotta-p2p key new
      flotta-p2p key show
    """


@key.command("new")
@click.option("--name", default="person", show_default=True, help="Name of the key: its file in the key folder.")
@click.option("--key", "file", type=FILE, envvar="FLOTTA_KEY", help="Make it in this file instead.")
@json_option
def new(name: str, file: Path | None, as_json: bool) -> None:
    """Make a key. An existing one is never overwritten.

    \b
    Examples:
      flotta-p2p key new
      flotta-p2p key new --key /media/stick/my.key
    """
    from actors.adapters.entropy import SystemEntropy
    from actors.adapters.key_files import create_signing_key
    from flotta_p2p.user_folders import default_key_file
    from protocol.signing import SigningKey

    if not is_name(name):
        raise click.BadParameter(f"{name!r} is no name; expected {NAME_RULE}", param_hint="--name")
    path = file or default_key_file(name)
    made = SigningKey(create_signing_key(path, SystemEntropy()))
    values = _values(made.public_key, path)
    lines = (*_lines(values), "Keep a copy of the file in a safe place: who has it signs in your name.")
    show(values, lines, as_json=as_json)


@key.command("show")
@click.option(
    "--key", "file", type=FILE, envvar="FLOTTA_KEY", help="The key's file; else $FLOTTA_KEY, else the default."
)
@json_option
def show_key(file: Path | None, as_json: bool) -> None:
    """Who you are: the id that holders put into their rules. The secret is never shown.

    \b
    Examples:
      flotta-p2p key show
      flotta-p2p key show --key /media/stick/my.key --json
    """
    from flotta_p2p.commands.places import person_key
    from flotta_p2p.user_folders import default_key_file

    values = _values(person_key(file).public_key, file or default_key_file())
    show(values, _lines(values), as_json=as_json)


def _values(public_key: bytes, path: Path) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")
    return {"person": format_id(node_id(public_key)), "fingerprint": f"SHA256:{digest}", "file": str(path)}


def _lines(values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name:<11}  {value}" for name, value in values.items())
