"""A node that hands its socket to the launcher on to a test: `python -m tests.system.stub_lender SOCKET_PATH`."""

from __future__ import annotations

import signal
import socket
import sys

from actors.adapters.launcher_link import launcher_socket
from actors.child_bootstrap import adopt_parent_death, parent_pid

if __name__ == "__main__":
    adopt_parent_death(parent_pid())
    with launcher_socket() as launcher, socket.socket(socket.AF_UNIX) as test:
        test.connect(sys.argv[1])
        socket.send_fds(test, [b"x"], [launcher.fileno()])
    signal.pause()
