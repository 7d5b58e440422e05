"""Helpers of the configuration tests: write a file, read it, take the error apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.configuration.schema import Configuration
from protocol.errors import ConfigError

TOKEN_A = "7b1e09c4d2f85a36e97140bd6c3f82a5e0d41b97"
TOKEN_B = "c05f3a9e82d7146bb9e2705d1f48a3c6e7910d52"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "site.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Configuration:
    return read_configuration(write(folder, text), environ or {})


def refusal(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ)
    return caught.value


def faults(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
    """The faults as a person sees them, without the folder of the file."""
    return refusal(folder, text, environ).sentence.replace(f"{folder}/", "").splitlines()
