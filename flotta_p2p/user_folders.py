"""Where the files of this user lie when nobody names another place."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import platformdirs

_APP: Final = "flotta-p2p"


def default_workdir(*, standalone: bool = False) -> Path:
    """A folder of its own for a standalone node: what somebody tries out never touches a real node's."""
    return platformdirs.user_data_path(f"{_APP}-standalone" if standalone else _APP, appauthor=False)


def default_config() -> Path:
    """The configuration file of a node that is started without one: in its work directory."""
    return default_workdir() / "config.yaml"


def default_key_file(name: str = "person") -> Path:
    """A person's key, apart from any node."""
    return platformdirs.user_config_path(_APP, appauthor=False) / f"{name}.key"
