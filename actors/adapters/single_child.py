"""One question to one child process, for a command line: the same program under the same limits as in a node."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from typing import Final

from actors.children import Children, EndReason, SpawnRefusedError
from actors.framing import Unframer, to_frame
from actors.ports import Clock
from protocol.errors import Code, DataError, RemoteProtocolError
from protocol.limits import CHILD_END_MS, CHILD_MEMORY_BYTES_MAX, CHILD_MEMORY_WATCH_MS, KIB

_READ_BYTES: Final = 256 * KIB
_KEY: Final = "single"
_LOOK_S: Final = 0.005  # at a process that is ending


def ask_child(program: Sequence[str], message: bytes, *, limit_ms: int, clock: Clock) -> bytes:
    """Starts `program`, gives it `message` and returns its answer; the process is gone when this returns.

    Raises DataError: TASK_OUT_OF_TIME after `limit_ms`, TASK_OUT_OF_MEMORY beyond CHILD_MEMORY_BYTES_MAX, TASK_CRASHED
    when it ends without an answer or cannot be started. In the main thread: a child dies with the thread that started
    it.
    """
    with selectors.DefaultSelector() as selector:
        children = Children({_KEY: program}, selector)
        try:
            _, channel = children.spawn(_KEY, _KEY, keep=False, rss_bytes_max=CHILD_MEMORY_BYTES_MAX)
        except SpawnRefusedError as error:
            raise _crashed(f"could not be started ({error})") from error
        try:
            with channel:
                channel.settimeout(CHILD_MEMORY_WATCH_MS / 1000)
                return _answer(children, channel, message, clock.now().after_ms(limit_ms), clock)
        finally:
            children.end_all()


def _answer(children: Children, channel: socket.socket, message: bytes, deadline_ns: int, clock: Clock) -> bytes:
    unframer = Unframer()
    try:
        channel.sendall(to_frame(message))  # small: it never fills the buffer of the socket
        while clock.now().boot_ns < deadline_ns:
            children.watch_memory()
            try:
                data = channel.recv(_READ_BYTES)
            except TimeoutError:
                continue
            if not data:
                raise _ended(children)
            unframer.push(data)
            if (answer := unframer.pop()) is not None:
                return answer
    except (ConnectionError, RemoteProtocolError) as error:
        raise _ended(children) from error
    sentence = "the process that reads the table did not end in time"
    raise DataError(
        Code.TASK_OUT_OF_TIME, sentence, next_step="split the table, or try when the machine has less to do"
    )


def _ended(children: Children) -> DataError:
    children.kill(_KEY, EndReason.KILLED)  # when it was killed for another reason already, that one stands
    deadline_s = time.monotonic() + CHILD_END_MS / 1000
    while not (ends := children.collect()) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)
    if any(end.reason == EndReason.OUT_OF_MEMORY for end in ends):
        sentence = f"the process that reads the table needs more than {CHILD_MEMORY_BYTES_MAX:,} bytes of memory"
        return DataError(Code.TASK_OUT_OF_MEMORY, sentence, next_step="split the table into several sources")
    return _crashed("ended without an answer")


def _crashed(what: str) -> DataError:
    step = "try again; if it comes again, report it with the size of the table, not with its data"
    return DataError(Code.TASK_CRASHED, f"the process that reads the table {what}", next_step=step)
