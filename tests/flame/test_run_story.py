"""The sentence that the log of a flame node gives of its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flame.run.run_story import last_words, log_story, story

FILE = "/lab/lock.py"


def traceback_of(folder: Path, text: str) -> tuple[str, Path]:
    """What Python prints when it runs `text`."""
    file = folder / "lock.py"
    file.write_text(text)
    run = subprocess.run((sys.executable, str(file)), capture_output=True, text=True, timeout=30, check=False)
    return run.stderr, file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n1 / 0\n", "lock.py:2: ZeroDivisionError: division by zero"),
        ("raise SystemError\n", "lock.py:1: SystemError"),
        ("def f(:\n", "lock.py:1: SyntaxError: invalid syntax"),
        ("import json\n\njson.loads('{')\n", "lock.py:3: json.decoder.JSONDecodeError: Expecting property name"),
        ("class Odd(Exception):\n    pass\nraise Odd('two\\nlines')\n", "lock.py:3: Odd: two"),
        (
            "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise OSError('no laser') from e\n",
            "lock.py:4: OSError",
        ),
        ("raise ExceptionGroup('many', [ValueError(1)])\n", "lock.py:1: ExceptionGroup: many (1 sub-exception)"),
        ("raise SystemExit(3)\n", ""),
        ("print('all is well')\n", ""),
    ],
)
def test_the_last_error_is_told_at_the_line_of_the_users_file(tmp_path: Path, text: str, expected: str) -> None:
    printed, file = traceback_of(tmp_path, text)
    told = story(printed, str(file))
    assert told.startswith(expected) if expected else told == ""


def test_the_line_of_a_module_beside_the_program_is_the_users_too(tmp_path: Path) -> None:
    (tmp_path / "laser.py").write_text("def on():\n    raise OSError('no laser')\n")
    printed, file = traceback_of(tmp_path, "import laser\nlaser.on()\n")
    assert story(printed, str(file)) == "laser.py:2: OSError: no laser"


def test_the_last_of_several_tracebacks_counts() -> None:
    first = f'Traceback (most recent call last):\n  File "{FILE}", line 3, in <module>\n    a()\nValueError: first\n'
    second = f'Traceback (most recent call last):\n  File "{FILE}", line 9, in <module>\n    b()\nValueError: second\n'
    assert story(first + "went on\n" + second, FILE) == "lock.py:9: ValueError: second"


def test_what_stood_in_the_log_before_this_start_is_not_of_this_end(tmp_path: Path) -> None:
    printed, file = traceback_of(tmp_path, "1 / 0\n")
    log = tmp_path / "log.txt"
    log.write_text(printed + "another start\n")
    assert log_story(log, 0, str(file)) == "lock.py:1: ZeroDivisionError: division by zero"
    assert log_story(log, len(printed.encode()), str(file)) == ""
    assert log_story(tmp_path / "none.txt", 0, str(file)) == ""


def test_the_last_words_are_the_last_line_that_is_not_empty(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("first\n  no laser \n\n")
    assert (last_words(log, 0), last_words(log, log.stat().st_size)) == ("no laser", "")
    assert last_words(tmp_path / "none.txt", 0) == ""


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    printed, file = traceback_of(tmp_path, "1 / 0\n")
    log = tmp_path / "log.txt"
    log.write_text("noise\n" * 1_000_000 + printed)
    assert log_story(log, 0, str(file)).startswith("lock.py:1: ")


def test_a_traceback_that_was_cut_off_tells_as_much_as_it_has() -> None:
    assert story(f'Traceback (most recent call last):\n  File "{FILE}", line 3, in <module>\n', FILE) == "lock.py:3"
    assert story("Traceback (most recent call last):\n", FILE) == ""
