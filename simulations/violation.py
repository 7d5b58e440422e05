"""What a run ends with when a rule was broken."""

from __future__ import annotations


class Violation(Exception):
    """A machine or the simulator broke a rule. The text says which; seed and trace say how."""
