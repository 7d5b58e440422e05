"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks import nothing_left_behind


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """No test leaves a thread or an actor behind."""
    with nothing_left_behind():
        yield
