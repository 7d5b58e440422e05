"""Chance from the operating system."""

from __future__ import annotations

import builtins
import secrets


class SystemEntropy:
    """The operating system's source for keys and nonces. Any thread may use it."""

    def bytes(self, n: int) -> builtins.bytes:
        return secrets.token_bytes(n)
