"""What holds for every test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.leaks import nothing_left_behind

# An example may take long where the machine does other things too; a test that hangs is ended by pytest-timeout.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """No test leaves a thread or an actor behind."""
    with nothing_left_behind():
        yield


@pytest.fixture
def own_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder for this test alone. Its path is short, whatever TMPDIR is: that of a socket has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="f", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)
