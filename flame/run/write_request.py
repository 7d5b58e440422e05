"""What `flame write` and an executor tell each other: one line of JSON each way over a Unix stream socket.

    {"node": "lock", "input": "target", "value": 81.5}
    {"kind": "accepted", "seq": 3, "time_ns": …, "author": "anna"}
    {"kind": "refused", "code": "write-refused", "sentence": …, "next_step": …}

Who writes is not said: the executor asks the system who is at the other end. Unknown keys are passed over.
"""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from flame.limits import WRITE_ANSWER_S, WRITE_BYTES_MAX
from flame.run.writes import WriteRequest
from protocol.errors import Code, FlottaError, UnreachableError, WorkflowError, error_of
from protocol.limits import KIB

_NAME_CHARS_MAX: Final = 256  # more than any name of a flame node or an input
_AGAIN_S: Final = 0.005  # until a crowded socket is tried again: a flood leaves room for so short a time
_ANSWER_BYTES_MAX: Final = 64 * KIB  # a sentence and a next step


class Accepted(msgspec.Struct, frozen=True, tag_field="kind", tag="accepted"):
    """It is in the journal, on the disk, and on its way to the flame node."""

    seq: int
    time_ns: int
    author: str


class Refused(msgspec.Struct, frozen=True, tag_field="kind", tag="refused"):
    """Nothing was written. `code`: text of a `Code`."""

    code: str
    sentence: str
    next_step: str = ""


Answer = Accepted | Refused


def encode(message: WriteRequest | Answer) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def read_request(line: bytes) -> WriteRequest:
    """Raises ValueError for anything else."""
    try:
        request = msgspec.json.decode(line, type=WriteRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if max(len(request.node), len(request.input)) > _NAME_CHARS_MAX:
        raise ValueError(f"a name has more than {_NAME_CHARS_MAX} characters")
    return request


def refused(error: FlottaError) -> Refused:
    return Refused(error.code.value, error.sentence, error.next_step)


def ask(link: Path, request: WriteRequest, alias: str) -> Accepted:
    """Write through the socket that `link` leads to. Raises what the executor refused it with, UnreachableError."""
    data = encode(request)
    if len(data) > WRITE_BYTES_MAX:
        raise WorkflowError(
            Code.VALUE_WRONG,
            f"the value takes {len(data)} bytes, and at most {WRITE_BYTES_MAX} are written",
            next_step="give large data to a flame node by a file whose name is written",
        )
    try:
        answer = _exchange(link, data)
    except TimeoutError as error:
        raise UnreachableError(
            Code.TIMED_OUT,
            f"run {alias} has not answered within {WRITE_ANSWER_S:g} s",
            next_step=f"`flame cat '#/{alias}/{request.node}/in/{request.input}'` shows whether it was written",
        ) from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise UnreachableError(
            Code.NODE_UNREACHABLE,
            f"run {alias} takes no writes yet, or no more: its socket is not there",
            next_step="`flame ps` shows whether it goes on; then try again",
        ) from error
    except (OSError, ValueError) as error:
        raise UnreachableError(
            Code.NODE_UNREACHABLE,
            f"run {alias} gave no answer: {error}",
            next_step=f"`flame ps` shows whether it goes on, and `flame cat '#/{alias}/{request.node}/in/"
            f"{request.input}'` whether it was written",
        ) from error
    if isinstance(answer, Accepted):
        return answer
    raise error_of(answer.code, answer.sentence, answer.next_step, otherwise=Code.WRITE_REFUSED)


def _exchange(link: Path, data: bytes) -> Answer:
    """Raises OSError, ValueError."""
    deadline_s = time.monotonic() + WRITE_ANSWER_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, str(link.readlink()), deadline_s)  # its path is short, and that of a link need not be
        sock.settimeout(WRITE_ANSWER_S)
        with contextlib.suppress(BrokenPipeError):  # refused before it was read: the answer is there
            sock.sendall(data)
        read = b""
        while not read.endswith(b"\n") and len(read) < _ANSWER_BYTES_MAX:
            sock.settimeout(max(0.001, deadline_s - time.monotonic()))
            if not (more := sock.recv(_ANSWER_BYTES_MAX)):
                raise ValueError("the connection was closed")
            read += more
    try:
        answer: Answer = msgspec.json.decode(read, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return answer


def _connect(sock: socket.socket, path: str, deadline_s: float) -> None:
    """Waits while others crowd before the socket. Raises OSError."""
    sock.setblocking(False)
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise TimeoutError from None
            time.sleep(_AGAIN_S)
        else:
            return
