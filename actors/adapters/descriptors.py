"""Descriptors of the node's process: as many as it needs, and some that nobody from outside can take.

libzmq accepts whoever connects and keeps a stranger for HANDSHAKE_LIMIT_MS; it knows no limit of connections. The
soft limit of the process is that limit. What the node itself needs while strangers hold all the others (the channel
of a child, the operator at the control socket) is opened within `reserve`.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from protocol.limits import DESCRIPTORS_MAX, DESCRIPTORS_RESERVED

_lock: Final = threading.Lock()  # the limit belongs to the process


def raise_limit() -> int:
    """Once, at the start: up to the system's limit and DESCRIPTORS_MAX, less the reserve. Returns the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = limit_to_come()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def limit_to_come() -> int:
    """What `raise_limit` would set."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _at_most(DESCRIPTORS_MAX, hard) - DESCRIPTORS_RESERVED


@contextmanager
def reserve() -> Iterator[None]:
    """Within the block this process may open DESCRIPTORS_RESERVED more. For short calls that never wait."""
    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            yield
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (_at_most(soft + DESCRIPTORS_RESERVED, hard), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _at_most(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
