"""A child that does as it is told, well or badly: `python -m tests.system.stub_child [--stay]`.

With `--stay` it lives on when its node is gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from actors.child_bootstrap import adopt_parent_death, limit_resources, parent_pid, serve
from protocol.limits import MIB

_hoard: list[bytearray] = []
_LINGER_S = 60.0


def channel() -> socket.socket:
    """Another handle of the channel, past the framing."""
    fds = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    sockets = [fd for fd in fds if Path(f"/proc/self/fd/{fd}").is_socket()]
    return socket.socket(fileno=os.dup(min(sockets)))


def misbehave(word: str, value: int) -> None:
    with channel() as raw:
        match word:
            case "garbage":
                raw.sendall(b"Traceback (most recent call last):\n")
            case "empty":
                raw.sendall(bytes(4))
            case "torn":
                raw.sendall(b"\0\0\1\0half a mess")
                os._exit(0)
            case "last-words":
                raw.sendall(b"\0\0\0\1a\0\0\0\1b")
                os._exit(value)
            case "hang-up":
                raw.shutdown(socket.SHUT_RDWR)
    time.sleep(_LINGER_S)


def handle(message: bytes) -> bytes:
    word, _, rest = message.partition(b" ")
    match word:
        case b"echo":
            return rest
        case b"about":
            return json.dumps({"environment": dict(os.environ), "group": os.getpgid(0)}).encode()
        case b"hoard":
            _hoard.append(bytearray(b"x" * (int(rest) * MIB)))
        case b"bear":
            grandchild = subprocess.Popen(["sleep", str(_LINGER_S)], stdin=subprocess.DEVNULL)
            return str(grandchild.pid).encode()
        case b"print":
            print(rest.decode(), flush=True)
            return b"printed"
        case b"exit":
            os._exit(int(rest))
        case b"segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case _:
            misbehave(word.decode(), int(rest or 0))
    time.sleep(_LINGER_S)
    return b"-"


if __name__ == "__main__":
    adopt_parent_death(parent_pid())
    limit_resources()
    serve(handle)
    if "--stay" in sys.argv:
        time.sleep(_LINGER_S)
