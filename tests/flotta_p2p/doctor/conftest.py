"""The person who runs the tests is not examined."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config of nobody"))
    monkeypatch.delenv("FLOTTA_KEY", raising=False)
