"""Text that must not be seen: project tokens, passwords."""

from __future__ import annotations

import hmac
from typing import NoReturn


class SecretText:
    """Holds a secret and shows `***` wherever it is printed, formatted or logged.

    `reveal()` is the one way to the text. How long a comparison takes tells nothing about the secrets.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the code that uses it; never for a message, a log or an argument."""
        return self._text

    def __repr__(self) -> str:
        return "SecretText('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretText):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((SecretText, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SecretText is not pickled: hand over what the receiver needs by name")
