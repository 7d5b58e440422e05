"""What an executor has for `flame write`: the socket, the journal, and the newest value of each input.

`flame.run.writes` judges; here it is done. A write is on the disk before its flame node or its author is told.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from actors.adapters.flame_files import HeldRun, hide_link, show_link
from actors.adapters.flame_writes import FlameWrites, WriteAsked
from flame.control import Written
from flame.limits import AUTHORS_NAMED_MAX, WRITTEN_BYTES_MAX
from flame.run.write_journal import WriteJournal, WrittenValue, newest_values
from flame.run.write_request import Accepted, refused
from flame.run.writes import (
    Author,
    WriteRequest,
    checked,
    is_known,
    judge,
    names_others,
    stream_name,
    writable_inputs,
)
from flame.types import portable
from protocol.errors import Code, DeniedError, FlottaError, StorageError, WorkflowError
from protocol.limits import MIB

_log = logging.getLogger(__name__)


class FlameWriting:
    """Of one run; where its workflow opens no input, nothing is listened to. One thread, that of the executor."""

    def __init__(self, run: HeldRun, on_asked: Callable[[WriteAsked], object]) -> None:
        """Takes up what was written before the run was resumed. Raises StorageError, ConfigError."""
        self._folder = run.folder
        self._graph = run.document.graph
        self._owner_uid = os.geteuid()
        self._newest: dict[str, dict[str, Written]] = {node.name: {} for node in self._graph.nodes}
        self._notes: dict[str, list[str]] = {node.name: [] for node in self._graph.nodes}  # one for each input
        self._refused: Counter[tuple[str, str]] = Counter()  # limits.AUTHORS_NAMED_MAX
        self._journal: WriteJournal | None = None
        self._socket: FlameWrites | None = None
        hide_link(self._folder.write_socket)  # of an executor that was killed
        streams = [stream_name(node.name, port.name) for node, port in writable_inputs(self._graph)]
        if streams:
            self._take_up()
            self._journal = WriteJournal(self._folder.writes, streams)
            try:
                self._socket = FlameWrites(
                    for_others=names_others(self._graph), is_known=self._knows, on_asked=on_asked
                )
                show_link(self._folder, self._folder.write_socket, self._socket.path)
            except FlottaError:
                self.close()
                raise

    def take(self, asked: WriteAsked, *, has_ended: bool) -> Written | None:
        """Answer a request. What its flame node is to be told, None when it was refused."""
        assert self._journal is not None and self._socket is not None
        author, request = asked.author, asked.request
        try:
            held = judge(self._graph, self._owner_uid, author, request, has_ended=has_ended)
            self._check_room(author)
            value = self._journal.append(stream_name(request.node, request.input), held, author)
        except FlottaError as error:
            self._note_refusal(author, request)
            self._socket.answer(asked.number, refused(error))
            return None
        written = Written(request.input, held, value.seq, value.time_ns)
        self._newest[request.node][request.input] = written
        self._socket.answer(asked.number, Accepted(value.seq, value.time_ns, value.author))
        return written

    def newest(self, node: str) -> Mapping[str, Written]:
        """What stands instead of parameters of a flame node, by input."""
        return self._newest[node]

    def behind(self, node: str, arrived: Mapping[str, int]) -> Iterator[Written]:
        """What a flame node has not got yet. `arrived`: by its beat, the number of its newest for each input."""
        return (one for name, one in self._newest[node].items() if one.seq > arrived.get(name, 0))

    def notes(self, node: str) -> Iterator[str]:
        """Sentences for the result."""
        yield from self._notes[node]
        for (name, sentence), times in self._refused.items():
            if name == node:
                yield sentence if times == 1 else f"{sentence}, {times} times"

    def close(self) -> None:
        """Nobody writes any more. Calling it again does nothing."""
        if self._socket is not None:
            hide_link(self._folder.write_socket)
            self._socket.stop()
        if self._journal is not None:
            with contextlib.suppress(StorageError):  # who wrote was told when it was not on the disk
                self._journal.close()

    def _knows(self, author: Author) -> bool:
        return is_known(self._graph, author, self._owner_uid)

    def _check_room(self, author: Author) -> None:
        """The disk is that of the user who runs it. Raises DeniedError."""
        assert self._journal is not None
        if author.uid != self._owner_uid and self._journal.size_bytes >= WRITTEN_BYTES_MAX:
            raise DeniedError(
                Code.WRITE_REFUSED,
                f"what was written into this run takes {self._journal.size_bytes // MIB} MiB, and others than the user "
                "who runs it add no more to it",
                next_step="write less often; the next run begins anew",
            )

    def _take_up(self) -> None:
        newest = newest_values(self._folder.writes)
        for node, port in writable_inputs(self._graph):
            if (value := newest.get(stream_name(node.name, port.name))) is not None:
                self._notes[node.name].append(self._stands(node.name, port.name, value))

    def _stands(self, node: str, name: str, value: WrittenValue) -> str:
        port = self._graph.node(node).schema.input(name)
        assert port is not None
        what = f"what {value.author} wrote to {name} before the run was taken up again"
        try:
            held = checked(port, portable.dump(value.value), f"{node}/{name}")
        except WorkflowError as error:  # it was taken up with other node files
            return f"{what} does not fit any more, and its parameter stands: {error.sentence}"
        self._newest[node][name] = Written(name, held, value.seq, value.time_ns)
        return f"{what} stands, and not its parameter"

    def _note_refusal(self, author: Author, request: WriteRequest) -> None:
        """Of others than the user who runs it; names are told where they are known to be names."""
        if author.uid == self._owner_uid:
            return
        found = next((node for node in self._graph.nodes if node.name == request.node), None)
        is_there = found is not None and found.schema.input(request.input) is not None
        key = (request.node, f"{author} was refused to write {request.input}") if is_there else ("", str(author))
        if key not in self._refused and len(self._refused) >= AUTHORS_NAMED_MAX:
            return
        self._refused[key] += 1
        if self._refused[key] == 1:
            what = stream_name(request.node, request.input) if is_there else "what is not there"
            _log.warning("%s was refused to write %s", author, what)
