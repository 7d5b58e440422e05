"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from tests.leaks import nothing_left_behind

# No test measures time: what an example takes says more about the machine than about the program.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """No test leaves a thread or an actor behind."""
    with nothing_left_behind():
        yield
