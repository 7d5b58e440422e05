"""What the launcher says is read strictly: anything else ends the link, with one error."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from actors.adapters.launcher_link import Exited, LauncherLink, LauncherLostError


@pytest.fixture
def ends() -> Iterator[tuple[LauncherLink, socket.socket]]:
    ours, launcher = socket.socketpair()
    launcher.sendall(b'{"event": "hello", "kept": {}}\n')
    link = LauncherLink(ours)
    yield link, launcher
    link.close()
    launcher.close()


def test_a_line_of_the_launcher_is_read(ends: tuple[LauncherLink, socket.socket]) -> None:
    link, launcher = ends
    launcher.sendall(b'{"event": "exited", "key": "k", "code": 0, "signal": null, "reason": ""}\n')
    assert link.read() == [Exited(key="k", code=0, signal=None, reason="")]


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON",
        b'{"event": "else"}',
        b'{"event": "hello", "kept": {"k": "17"}}',
        b'{"event": "exited", "key": "\xff", "code": 0, "signal": null, "reason": ""}',
        b'{"event": "hel\xed\xa0\x80"}',
        b'{"event": ' + b"[" * 30_000,
    ],
    ids=["text", "event", "type", "no UTF-8", "a surrogate", "deep"],
)
def test_any_other_line_is_the_one_error(line: bytes, ends: tuple[LauncherLink, socket.socket]) -> None:
    link, launcher = ends
    launcher.sendall(line + b"\n")
    with pytest.raises(LauncherLostError, match="no event"):
        link.read()
