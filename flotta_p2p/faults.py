"""Collects everything that is wrong with one file that a person wrote, so that it is mended in one go."""

from __future__ import annotations

from typing import Final, NoReturn

from protocol.errors import Code, ConfigError
from protocol.limits import CONFIG_FAULTS_MAX

_SHOWN_CHARS_MAX: Final = 60  # of a key or a value that is quoted in a message


def quoted(text: str) -> str:
    """`text` in double quotes, fit for a terminal: one line, nothing unprintable, at most 60 characters."""
    clipped = text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "…"
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in clipped) + '"'


class Faults:
    """The faults of one file, each with its line and code. Not for more than one thread."""

    def __init__(self, file: str, next_step: str = "") -> None:
        self._file = file
        self._next_step = next_step
        self._found: list[tuple[int, str, Code]] = []

    def add(self, line: int, sentence: str, code: Code = Code.CONFIG_VALUE_WRONG) -> None:
        """Remember one fault. Raises ConfigError with all of them when CONFIG_FAULTS_MAX are found."""
        self._found.append((line, sentence, code))
        if len(self._found) >= CONFIG_FAULTS_MAX:
            self._raise(f"{self._file}: reading ended here, after {CONFIG_FAULTS_MAX} faults")

    def stop(self, line: int, sentence: str, code: Code = Code.CONFIG_MALFORMED) -> NoReturn:
        """Raise ConfigError with this fault and all before it: the rest of the file cannot be read."""
        self._found.append((line, sentence, code))
        self._raise()

    def raise_if_any(self) -> None:
        """Raise ConfigError with one line per fault in the order of the file, if there are any."""
        if self._found:
            self._raise()

    def _raise(self, *last: str) -> NoReturn:
        found = sorted(self._found, key=lambda fault: fault[0])
        lines = [f"{self._file} line {line}: {sentence}" for line, sentence, _ in found]
        raise ConfigError(found[0][2], "\n".join([*lines, *last]), next_step=self._next_step)
