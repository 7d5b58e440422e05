"""No signed thing is taken for another."""

from __future__ import annotations

from typing import get_args

from protocol.wire.registry import MESSAGES, Connection
from tests.faults.hostile_types import TYPES, confuse


def test_nothing_that_is_signed_is_believed_as_anything_else() -> None:
    found = confuse()
    assert found.failures == []
    assert found.counts["statement cells"] >= len(TYPES) ** 2
    assert found.counts["frame cells"] == len(MESSAGES) ** 2 * len(get_args(Connection))
