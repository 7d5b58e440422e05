"""Descriptors: raised to what the system allows, and a reserve that others cannot take."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from actors.adapters.descriptors import raise_limit, reserve
from protocol.limits import DESCRIPTORS_MAX, DESCRIPTORS_RESERVED


@pytest.fixture(autouse=True)
def limit() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_limit_of_a_login_shell_is_raised_to_that_of_the_system(limit: tuple[int, int]) -> None:
    _, hard = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    allowed = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_MAX, hard)
    assert raise_limit() == soft_limit() == allowed - DESCRIPTORS_RESERVED
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard


def test_when_all_descriptors_are_taken_the_reserve_still_opens_some(limit: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
    taken = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with reserve():
            taken.append(os.open(os.devnull, os.O_RDONLY))
        assert soft_limit() == 256
        with pytest.raises(OSError, match="Too many open files"):
            taken.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for one in taken:
            os.close(one)


def test_the_limit_is_as_before_when_the_block_fails(limit: tuple[int, int]) -> None:
    before = soft_limit()
    with pytest.raises(ValueError, match="within"), reserve():
        raise ValueError("within")
    assert soft_limit() == before
